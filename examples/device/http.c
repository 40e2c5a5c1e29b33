/* The request by libcurl, which keeps to: HTTPS only, no redirects, no proxy, a bounded body, one
 * deadline for everything. Whom to trust is not curl's decision but that of trust.c. */
#include "http.h"

#include "stop.h"
#include "trust.h"

#include <stdio.h>
#include <string.h>

enum { CONNECT_TIMEOUT_S = 10 };

static size_t on_body(char *data, size_t one, size_t length, void *user)
{
    (void)one;
    struct http_answer *answer = user;
    if (length > HTTP_BODY_MAX - answer->length) {
        answer->too_large = true;
        return 0;
    }
    memcpy(answer->body + answer->length, data, length);
    answer->length += length;
    return length;
}

/* curl asks from time to time whether to go on. */
static int on_progress(
    void *user, curl_off_t down_of, curl_off_t down, curl_off_t up_of, curl_off_t up)
{
    (void)down_of, (void)down, (void)up_of, (void)up;
    const struct http_request *request = user;
    return stop_wait(request->stop_fd, 0) ? 1 : 0;
}

/* The host of the URL; an IPv6 address loses its brackets, since certificates have none. */
static bool host_of(const char *url, char *host, size_t size)
{
    char *text = NULL;
    CURLU *parts = curl_url();
    bool found = parts != NULL && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
                 curl_url_get(parts, CURLUPART_HOST, &text, 0) == CURLUE_OK;
    if (found) {
        const bool bracketed = text[0] == '[';
        const int length = snprintf(host, size, "%s", text + (bracketed ? 1 : 0));
        found = length > 1 && (size_t)length < size;
        if (found && bracketed) {
            host[length - 1] = '\0';
        }
    }
    curl_free(text);
    curl_url_cleanup(parts);
    return found;
}

static CURLcode on_tls(CURL *curl, void *context, void *user)
{
    (void)curl;
    const struct http_request *request = user;
    char host[256];
    if (!host_of(request->url, host, sizeof host)) {
        return CURLE_URL_MALFORMAT;
    }
    const struct trust trust = {.anchors = request->ca, .now = request->now, .host = host};
    return trust_apply(context, &trust) ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

/* curl's own files of trusted CAs are switched off; on_tls puts ours in their place. */
static CURLcode set_tls(CURL *curl, const struct http_request *request)
{
    CURLcode code = curl_easy_setopt(curl, CURLOPT_CAINFO, NULL);
    code = code != CURLE_OK ? code : curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    code = code != CURLE_OK ? code : curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, on_tls);
    code = code != CURLE_OK ? code : curl_easy_setopt(curl, CURLOPT_SSL_CTX_DATA, request);
    return code;
}

static void set_rest(CURL *curl, const struct http_request *request, struct http_answer *answer)
{
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, request->timeout_s);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, answer->error);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, request);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

static void perform(CURL *curl, const struct http_request *request, struct http_answer *answer)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    curl_off_t retry_after = 0;
    answer->result = set_tls(curl, request);
    if (answer->result == CURLE_OK) {
        set_rest(curl, request, answer);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        answer->result = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
        curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &retry_after);
        answer->retry_after_s = retry_after > 0 ? (long)retry_after : 0;
    }
    if (answer->error[0] == '\0') {
        snprintf(answer->error, sizeof answer->error, "%s", curl_easy_strerror(answer->result));
    }
    curl_slist_free_all(headers);
}

void http_post(const struct http_request *request, struct http_answer *answer)
{
    *answer = (struct http_answer){.result = CURLE_OUT_OF_MEMORY};
    CURL *curl = curl_easy_init();
    if (curl != NULL) {
        perform(curl, request, answer);
        curl_easy_cleanup(curl);
    }
    answer->body[answer->length] = '\0';
}
