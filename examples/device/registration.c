/* The registration: one request, sent again and again unchanged until there is an answer that
 * counts. Which answers do not count is decided here: no connection, a lost answer, "later",
 * "busy". */
#include "registration.h"

#include "identity.h"
#include "messages.h"
#include "report.h"

#include <openssl/crypto.h>
#include <string.h>

enum {
    HTTP_OK = 200,
    HTTP_UNAUTHORIZED = 401,
    HTTP_FORBIDDEN = 403,
    HTTP_CONFLICT = 409,
    HTTP_TOO_MANY = 429,
    HTTP_SERVER_ERROR = 500,
    HTTP_UNAVAILABLE = 503
};

/* What one attempt works with. */
struct exchange {
    const struct registration *registration;
    struct http_answer *http;
    struct credentials *credentials;
    time_t *server_time;
};

/* After these the server may or may not have seen the request: ask again, with the same key. */
static bool is_transient(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
        return true;
    default:
        return false;
    }
}

static void judge_transport(const struct exchange *exchange, struct attempt *attempt)
{
    const struct http_answer *http = exchange->http;
    const char *url = exchange->registration->http.url;
    if (http->too_large) {
        attempt_failed(attempt, EX_DATAERR, false, "%s: answer of more than %d bytes refused", url,
            HTTP_BODY_MAX);
    } else if (http->result == CURLE_PEER_FAILED_VERIFICATION) {
        attempt_failed(attempt, EX_DATAERR, false,
            "%s: the server is not trusted: %s; check --url and --ca", url, http->error);
    } else if (http->result == CURLE_UNSUPPORTED_PROTOCOL || http->result == CURLE_URL_MALFORMAT) {
        attempt_failed(attempt, EX_USAGE, false,
            "%s: %s; the URL must be https://HOST[:PORT]/registration", url, http->error);
    } else {
        const bool transient = is_transient(http->result);
        attempt_failed(attempt, EX_UNAVAILABLE, transient, "%s: %s", url, http->error);
    }
}

static void accept_answer(
    const struct exchange *exchange, const struct answer *answer, struct attempt *attempt)
{
    const char *problem = answer_credentials(
        answer, exchange->registration->key, exchange->credentials, exchange->server_time);
    if (problem == NULL) {
        const time_t now = exchange->registration->http.now;
        const time_t told = *exchange->server_time;
        problem = credentials_problem(exchange->credentials, told > now ? told : now);
    }
    if (problem != NULL) {
        attempt_failed(attempt, EX_DATAERR, false, "%s: answer refused: %s",
            exchange->registration->http.url, problem);
    }
}

static int status_of_refusal(long status)
{
    switch (status) {
    case HTTP_UNAUTHORIZED:
    case HTTP_FORBIDDEN:
    case HTTP_CONFLICT:
        return EX_NOPERM;
    default:
        return status >= HTTP_SERVER_ERROR ? EX_UNAVAILABLE : EX_DATAERR;
    }
}

static const char *or_nothing(const char *text)
{
    return text == NULL ? "" : text;
}

/* An error of the registration server, which says itself whether to try again. */
static void judge_error(
    const struct exchange *exchange, const struct answer *answer, struct attempt *attempt)
{
    const char *code = or_nothing(answer->code);
    const bool retryable = answer->retryable || answer->status == HTTP_TOO_MANY ||
                           answer->status == HTTP_UNAVAILABLE || strcmp(code, "in_progress") == 0;
    attempt_failed(attempt, retryable ? EX_TEMPFAIL : status_of_refusal(answer->status), retryable,
        "%s: %ld %s: %.200s", exchange->registration->http.url, answer->status, code,
        or_nothing(answer->message));
}

/* HTTP says what the body says, or always 200 (behind some gateways). */
static bool agrees(const struct http_answer *http, const struct answer *answer)
{
    return http->status == answer->status || http->status == HTTP_OK;
}

/* No answer of the registration server. A proxy in front of it may say that it is away. */
static void judge_stranger(const struct exchange *exchange, struct attempt *attempt)
{
    const long status = exchange->http->status;
    const bool retryable = status >= HTTP_SERVER_ERROR || status == HTTP_TOO_MANY;
    attempt_failed(attempt, retryable ? EX_TEMPFAIL : EX_DATAERR, retryable,
        "%s: HTTP %ld with a body that is no registration answer; check --url",
        exchange->registration->http.url, status);
}

static void attempt_once(void *subject, struct attempt *attempt)
{
    const struct exchange *exchange = subject;
    http_post(&exchange->registration->http, exchange->http);
    attempt->at_least_s = exchange->http->retry_after_s;
    if (exchange->http->result != CURLE_OK) {
        judge_transport(exchange, attempt);
        return;
    }
    struct answer answer;
    if (!answer_parse(&answer, exchange->http->body, exchange->http->length) ||
        !agrees(exchange->http, &answer)) {
        judge_stranger(exchange, attempt);
    } else if (answer.status == HTTP_OK) {
        accept_answer(exchange, &answer, attempt);
    } else {
        judge_error(exchange, &answer, attempt);
    }
    answer_free(&answer);
}

static int render(const struct registration *registration, char body[REQUEST_SIZE])
{
    char csr[CSR_SIZE];
    if (registration->key != NULL) {
        const int status = identity_csr(registration->key, registration->uid, csr);
        if (status != EX_OK) {
            return status;
        }
    }
    const char *own = registration->key == NULL ? NULL : csr;
    if (!request_render(registration->uid, registration->token, own, body)) {
        return report(EX_DATAERR, "the request gets longer than %d bytes", REQUEST_SIZE);
    }
    return EX_OK;
}

int registration_run(
    struct registration *registration, struct credentials *credentials, time_t *server_time)
{
    char body[REQUEST_SIZE];
    int status = render(registration, body);
    struct http_answer *http = OPENSSL_zalloc(sizeof *http);
    if (status == EX_OK && http != NULL) {
        registration->http.body = body;
        struct exchange exchange = {registration, http, credentials, server_time};
        status = retry_run(&registration->retry, attempt_once, &exchange);
        registration->http.body = NULL;
    }
    OPENSSL_clear_free(http, sizeof *http);
    OPENSSL_cleanse(body, sizeof body);
    return status;
}
