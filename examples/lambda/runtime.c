#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <cjson/cJSON.h>
#include <openssl/crypto.h>

#define LARGEST_EVENT (8u << 20) /* Lambda's own limit is 6 MB */
#define ANSWER_S      10L        /* the API is the machine's own */
#define UNKNOWN_MS    30000      /* where it tells no deadline */

int64_t runtime_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- libcurl's memory, which holds tokens and private keys: it is wiped when it is freed --------
 */

#define BEFORE 16 /* a block's size stands in front of it, and leaves it aligned */

static void *curl_get(size_t size)
{
    char *block = size < SIZE_MAX - BEFORE ? malloc(size + BEFORE) : NULL;
    if (!block)
        return NULL;
    memcpy(block, &size, sizeof size);
    return block + BEFORE;
}

static size_t curl_size(const void *bytes)
{
    size_t size;
    memcpy(&size, (const char *)bytes - BEFORE, sizeof size);
    return size;
}

static void curl_wipe(void *bytes)
{
    if (!bytes)
        return;
    OPENSSL_cleanse(bytes, curl_size(bytes));
    free((char *)bytes - BEFORE);
}

static void *curl_get_again(void *bytes, size_t size)
{
    void *more = curl_get(size);
    if (more && bytes) {
        memcpy(more, bytes, size < curl_size(bytes) ? size : curl_size(bytes));
        curl_wipe(bytes);
    }
    return more;
}

static void *curl_get_zeroes(size_t count, size_t size)
{
    void *bytes = size && count > SIZE_MAX / size ? NULL : curl_get(count * size);
    return bytes ? memset(bytes, 0, count * size) : NULL;
}

static char *curl_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = curl_get(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

/* --- The API ---------------------------------------------------------------------------------- */

static void text_free(struct text *text)
{
    if (text->bytes) /* an event has a token, an answer a private key */
        OPENSSL_cleanse(text->bytes, text->size);
    free(text->bytes);
    *text = (struct text){NULL, 0, 0};
}

/* 0, or -1: too long, or no memory. */
static int32_t text_reserve(struct text *text, size_t more)
{
    size_t size = text->size ? text->size : 4096;
    if (text->length + more + 1 > LARGEST_EVENT)
        return -1;
    while (size < text->length + more + 1)
        size *= 2;
    if (size == text->size)
        return 0;
    char *bytes = malloc(size);
    if (!bytes)
        return -1;
    if (text->bytes) {
        memcpy(bytes, text->bytes, text->length + 1);
        OPENSSL_cleanse(text->bytes, text->size);
        free(text->bytes);
    }
    text->bytes = bytes;
    text->size = size;
    return 0;
}

static size_t take_body(char *bytes, size_t one, size_t length, void *argument)
{
    struct text *text = argument;
    (void)one;
    if (text_reserve(text, length))
        return 0;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = 0;
    return length;
}

static size_t take_nothing(char *bytes, size_t one, size_t length, void *argument)
{
    (void)bytes;
    (void)argument;
    return one * length;
}

/* The header's value if it is that one's; 0 if it is another one. */
static int32_t header_is(const char *line, size_t length, const char *name, char *to, size_t size)
{
    size_t skip = strlen(name);
    if (length <= skip || strncasecmp(line, name, skip) != 0)
        return 0;
    for (; skip < length && line[skip] == ' '; skip++)
        ;
    while (length > skip && (unsigned char)line[length - 1] <= ' ')
        length--;
    (void)snprintf(to, size, "%.*s", (int)(length - skip), line + skip);
    return 1;
}

static size_t take_header(char *line, size_t one, size_t length, void *argument)
{
    struct invocation *invocation = argument;
    char deadline[32];
    (void)one;
    if (header_is(line, length, "Lambda-Runtime-Deadline-Ms:", deadline, sizeof deadline))
        invocation->deadline_ms = strtoll(deadline, NULL, 10);
    else if (!header_is(line, length, "Lambda-Runtime-Aws-Request-Id:", invocation->id,
                 sizeof invocation->id))
        (void)header_is(line, length, "Lambda-Runtime-Trace-Id:", invocation->trace_id,
            sizeof invocation->trace_id);
    return length;
}

static void set_up(struct runtime *runtime, const char *url, long timeout_s)
{
    curl_easy_reset(runtime->easy);
    curl_easy_setopt(runtime->easy, CURLOPT_URL, url);
    curl_easy_setopt(runtime->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(runtime->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(runtime->easy, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(runtime->easy, CURLOPT_TIMEOUT, timeout_s);
}

/* The HTTP status, or 0. */
static long perform(struct runtime *runtime)
{
    long status = 0;
    if (curl_easy_perform(runtime->easy) == CURLE_OK)
        curl_easy_getinfo(runtime->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

int32_t runtime_init(struct runtime *runtime, const char *api)
{
    (void)snprintf(runtime->url, sizeof runtime->url, "http://%.200s/2018-06-01/runtime", api);
    if (curl_global_init_mem(
            CURL_GLOBAL_DEFAULT, curl_get, curl_wipe, curl_get_again, curl_copy, curl_get_zeroes))
        return -1;
    runtime->easy = curl_easy_init();
    return runtime->easy ? 0 : -1;
}

void runtime_clear(struct runtime *runtime)
{
    curl_easy_cleanup(runtime->easy);
}

int32_t runtime_next(struct runtime *runtime, struct invocation *invocation)
{
    char url[400];
    (void)snprintf(url, sizeof url, "%s/invocation/next", runtime->url);
    set_up(runtime, url, 0); /* as long as it takes */
    curl_easy_setopt(runtime->easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(runtime->easy, CURLOPT_WRITEDATA, &invocation->event);
    curl_easy_setopt(runtime->easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(runtime->easy, CURLOPT_HEADERDATA, invocation);
    if (perform(runtime) != 200 || !*invocation->id)
        return -1;
    if (invocation->deadline_ms <= 0)
        invocation->deadline_ms = runtime_now_ms() + UNKNOWN_MS;
    return 0;
}

void invocation_clear(struct invocation *invocation)
{
    text_free(&invocation->event);
    *invocation = (struct invocation){.deadline_ms = 0};
}

static int32_t post(struct runtime *runtime, const char *path, const char *body, size_t length)
{
    char url[600];
    (void)snprintf(url, sizeof url, "%s/%s", runtime->url, path);
    set_up(runtime, url, ANSWER_S);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = headers ? curl_slist_append(headers, "Expect:") : NULL;
    curl_easy_setopt(runtime->easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(runtime->easy, CURLOPT_FRESH_CONNECT, 1L); /* or it might be sent twice */
    curl_easy_setopt(runtime->easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(runtime->easy, CURLOPT_POSTFIELDSIZE, (long)length);
    curl_easy_setopt(runtime->easy, CURLOPT_WRITEFUNCTION, take_nothing);
    long status = perform(runtime);
    curl_slist_free_all(headers);
    return status >= 200 && status < 300 ? 0 : -1;
}

int32_t runtime_respond(
    struct runtime *runtime, const struct invocation *invocation, const char *body, size_t length)
{
    char path[200];
    (void)snprintf(path, sizeof path, "invocation/%s/response", invocation->id);
    return post(runtime, path, body, length);
}

static void post_error(struct runtime *runtime, const char *path, const char *why)
{
    cJSON *error = cJSON_CreateObject();
    char *body = NULL;
    if (error && cJSON_AddStringToObject(error, "errorMessage", why) &&
        cJSON_AddStringToObject(error, "errorType", "Failed"))
        body = cJSON_PrintUnformatted(error);
    if (body)
        (void)post(runtime, path, body, strlen(body));
    cJSON_free(body);
    cJSON_Delete(error);
}

void runtime_init_failed(struct runtime *runtime, const char *why)
{
    post_error(runtime, "init/error", why);
}

void runtime_failed(struct runtime *runtime, const struct invocation *invocation, const char *why)
{
    char path[200];
    (void)snprintf(path, sizeof path, "invocation/%s/error", invocation->id);
    post_error(runtime, path, why);
}
