/* From a call to its answer: keys, signature, exchange, and again. */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/json.h"
#include "environment.h"

#define MOST_HEADERS  8
#define MOST_TRIES    8
#define TRY_MS        4000 /* what one try may take: there is time for another one then */
#define FIRST_WAIT_MS 50
#define LAST_WAIT_MS  2000
#define LEAST_LEFT_MS 50 /* with less time nothing is begun */
/* As the SDKs' standard mode has it: tries are paid for, so that a service that is down is not hit
 * harder. */
#define RETRY_TOKENS 500
#define RETRY_COST   5
#define RETRY_REFUND 1

/* --- Waiting ---------------------------------------------------------------------------------- */

int64_t cvm_aws_backoff_ms(uint32_t tries)
{
    char text[9] = "";
    int64_t most = FIRST_WAIT_MS;
    for (; tries > 1 && most < LAST_WAIT_MS; tries--)
        most *= 2;
    if (cvm_random_hex(4, text))
        return most;
    return (int64_t)(strtoul(text, NULL, 16) % (uint64_t)most);
}

static int64_t call_left_ms(const struct aws_call *call)
{
    uint64_t now_ms = cvm_monotonic_ms();
    return call->until_ms > now_ms ? (int64_t)(call->until_ms - now_ms) : 0;
}

/* --- The end ---------------------------------------------------------------------------------- */

static void call_leave(struct aws_call *call)
{
    if (!call->link)
        return;
    *call->link = call->next;
    if (call->next)
        call->next->link = call->link;
    call->link = NULL;
    call->client->host->timer_free(call->timer);
    call->timer = NULL;
}

void cvm_aws_call_cancel(struct aws_call *call)
{
    if (!call->link)
        return;
    if (call->exchange)
        cvm_aws_http_cancel(call->exchange);
    call->exchange = NULL;
    cvm_aws_credentials_leave(call->client->credentials, &call->waiter);
    call_leave(call);
}

void cvm_aws_call_clear(struct aws_call *call)
{
    cJSON_Delete(call->answer);
    call->answer = NULL;
    cvm_buffer_free(&call->body);
}

static void call_end(struct aws_call *call, enum aws_outcome outcome, const char *text)
{
    call->outcome = outcome;
    if (text)
        (void)snprintf(call->text, sizeof call->text, "%s", text);
    call_leave(call);
    call->done(call);
}

/* It fails without an answer. */
static void call_fail(struct aws_call *call, const char *why)
{
    char text[sizeof call->text];
    (void)snprintf(text, sizeof text, "AWS %s: %.200s", call->client->service, why);
    call_end(call, call->in_doubt ? AWS_UNKNOWN : AWS_UNSENT, text);
}

/* --- What an answer means --------------------------------------------------------------------- */

/* "com.amazonaws.dynamodb.v20120810#ThrottlingException" and "ThrottlingException:http://…" are
 * ThrottlingException. */
static void call_name_error(struct aws_call *call, const char *name)
{
    const char *mark = strrchr(name, '#');
    name = mark ? mark + 1 : name;
    (void)snprintf(call->error, sizeof call->error, "%.*s", (int)strcspn(name, ":"), name);
}

static const char *answer_text(const cJSON *answer, const char *name, const char *other)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, name));
    return text ? text : cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, other));
}

/* An error in either form: by a member of the body, or by a header. */
static void call_take_error(struct aws_call *call, const struct aws_http_response *response)
{
    const char *name = answer_text(call->answer, "__type", "code");
    const char *text = answer_text(call->answer, "message", "Message");
    call_name_error(call, *response->error_type ? response->error_type : name ? name : "");
    (void)snprintf(call->text, sizeof call->text, "AWS %s: %.40s: %.120s (request %.40s)",
        call->client->service, *call->error ? call->error : "an error without a name",
        text ? text : "no reason", *response->request_id ? response->request_id : "without an id");
    for (char *c = call->text; *c; c++)
        if ((unsigned char)*c < 0x20)
            *c = ' ';
}

static int32_t error_is_one_of(const char *error, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(error, *names) == 0)
            return 1;
    return 0;
}

int32_t cvm_aws_is_throttling(const char *error)
{
    static const char *const NAMES[] = {"ThrottlingException", "Throttling", "ThrottledException",
        "RequestLimitExceeded", "TooManyRequestsException", "SlowDown",
        "ProvisionedThroughputExceededException", "LimitExceededException", "RequestThrottled",
        "RequestThrottledException", NULL};
    return error_is_one_of(error, NAMES);
}

static int32_t error_is_of_the_clock(const char *error)
{
    static const char *const NAMES[] = {"RequestTimeTooSkewed", "SignatureDoesNotMatch",
        "InvalidSignatureException", "RequestExpired", "RequestInTheFuture", NULL};
    return error_is_one_of(error, NAMES);
}

static int32_t error_is_of_the_keys(const char *error)
{
    static const char *const NAMES[] = {
        "ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", NULL};
    return error_is_one_of(error, NAMES);
}

/* --- AWS's clock ------------------------------------------------------------------------------ */

/* A Date was written after its request was sent and before its answer was here, in the second that
 * it names. Bounds that contradict those before are right: one of the clocks was set, or goes
 * wrong. */
static void client_take_date(struct aws_client *client, uint64_t sent_ms, int64_t date_ms)
{
    int64_t least_ms = date_ms - (int64_t)cvm_monotonic_ms(),
            most_ms = date_ms + 1000 - (int64_t)sent_ms;
    int32_t is_known = client->ahead_least_ms || client->ahead_most_ms;
    if (!is_known || least_ms > client->ahead_most_ms || most_ms < client->ahead_least_ms) {
        client->ahead_least_ms = least_ms;
        client->ahead_most_ms = most_ms;
        return;
    }
    if (least_ms > client->ahead_least_ms)
        client->ahead_least_ms = least_ms;
    if (most_ms < client->ahead_most_ms)
        client->ahead_most_ms = most_ms;
}

/* The least that it can be: that only grows. */
int64_t cvm_aws_now_ms(const struct aws_client *client)
{
    if (!client->ahead_least_ms && !client->ahead_most_ms)
        return 0;
    return (int64_t)cvm_monotonic_ms() + client->ahead_least_ms;
}

/* --- Trying ----------------------------------------------------------------------------------- */

static void call_try(void *argument);

/* Tries after a while, and not before its pace has a slot; 0 if there is no time for that. */
static int32_t call_try_later(struct aws_call *call, int64_t wait_ms)
{
    struct aws_client *client = call->client;
    int64_t slot_ms = call->pace ? cvm_aws_pace_wait_ms(call->pace) : 0;
    wait_ms = wait_ms > slot_ms ? wait_ms : slot_ms;
    if (call_left_ms(call) < wait_ms + LEAST_LEFT_MS)
        return 0;
    if (!call->timer)
        call->timer = client->host->timer_new(client->context, call_try, call);
    if (!call->timer)
        return 0;
    if (call->pace)
        cvm_aws_pace_take(call->pace);
    client->host->timer_start(call->timer, wait_ms);
    return 1;
}

/* Waits for its next try; 0 if there is none. */
static int32_t call_try_again(struct aws_call *call, int64_t wait_ms)
{
    struct aws_client *client = call->client;
    if (call->tries >= MOST_TRIES || client->retry_tokens < RETRY_COST ||
        !call_try_later(call, wait_ms))
        return 0;
    client->retry_tokens -= RETRY_COST;
    return 1;
}

/* What is asked with the wrong time, or with keys that are over, is asked once more. 1 if it is. */
static int32_t call_correct(struct aws_call *call, const struct aws_http_response *response)
{
    struct aws_client *client = call->client;
    int32_t is_clock = error_is_of_the_clock(call->error) && response->date_ms;
    if (call->is_corrected || (!is_clock && !error_is_of_the_keys(call->error)))
        return 0;
    call->is_corrected = 1;
    if (is_clock)
        client->clock_offset_ms = response->date_ms - cvm_now_ms();
    else
        cvm_aws_credentials_expire(client->credentials, call->keys_number);
    return call_try_again(call, 0);
}

static void call_no_answer(struct aws_call *call, const struct aws_http_response *response)
{
    char why[200];
    call->in_doubt |= !response->is_unsent;
    (void)snprintf(why, sizeof why, "%.150s", response->failure);
    if ((call->is_unsafe && call->in_doubt) ||
        !call_try_again(call, cvm_aws_backoff_ms(call->tries)))
        call_fail(call, why);
}

/* An error of the service's own making, 5xx, says nothing about what was done. */
static void call_refused(struct aws_call *call, const struct aws_http_response *response)
{
    int32_t is_throttled = cvm_aws_is_throttling(call->error);
    if (is_throttled && call->pace)
        cvm_aws_pace_throttled(call->pace);
    int32_t is_fault = response->status >= 500 && !is_throttled;
    int64_t wait_ms = cvm_aws_backoff_ms(call->tries);
    if (wait_ms < (int64_t)response->retry_after_s * 1000)
        wait_ms = (int64_t)response->retry_after_s * 1000;
    call->retry_after_s = response->retry_after_s;
    if (call_correct(call, response))
        return;
    call->in_doubt |= is_fault;
    if ((is_throttled || (is_fault && !call->is_unsafe)) && call_try_again(call, wait_ms))
        return;
    call_end(call, !*call->error ? AWS_BROKEN : is_fault ? AWS_UNKNOWN : AWS_ERROR, NULL);
}

/* It says that it was done, and what comes with that can't be read: as good as no answer. */
static void call_garbled(struct aws_call *call, const char *why)
{
    char text[sizeof call->text];
    call->in_doubt = 1;
    (void)snprintf(text, sizeof text, "AWS %s: an answer that can't be read: %.100s",
        call->client->service, why);
    if (call->is_unsafe || !call_try_again(call, cvm_aws_backoff_ms(call->tries)))
        call_end(call, AWS_BROKEN, text);
}

static void call_answered(void *argument, const struct aws_http_response *response)
{
    struct aws_call *call = argument;
    struct aws_client *client = call->client;
    const char *why = NULL;
    call->exchange = NULL;
    call->in_doubt |= response->sends > 1; /* by libcurl: the first one got no answer */
    call->status = response->status;
    if (response->date_ms)
        client_take_date(client, call->sent_ms, response->date_ms);
    if (response->failure) {
        call_no_answer(call, response);
        return;
    }
    cJSON_Delete(call->answer);
    call->answer =
        response->length ? cvm_json_answer(response->body, response->length, &why) : NULL;
    if (response->status < 200 || response->status > 299) {
        call_take_error(call, response);
        call_refused(call, response);
        return;
    }
    if (!call->answer && (response->length || !call->takes_empty)) {
        call_garbled(call, !response->length ? "it is empty"
                           : why             ? why
                                             : "out of memory for an answer");
        return;
    }
    if (call->pace)
        cvm_aws_pace_succeeded(call->pace);
    if (client->retry_tokens < RETRY_TOKENS)
        client->retry_tokens += RETRY_REFUND;
    call_end(call, AWS_OK, NULL);
}

/* --- Sending ---------------------------------------------------------------------------------- */

/* Lines of headers in one buffer each. */
struct lines {
    struct cvm_buffer buffers[MOST_HEADERS];
    const char *list[MOST_HEADERS];
    uint32_t count;
    int32_t failed;
};

/* name: a whole line, where value is NULL. */
static void lines_add(struct lines *lines, const char *name, const char *value)
{
    struct cvm_buffer *buffer = &lines->buffers[lines->count];
    buffer->most = 65536;
    cvm_buffer_text(buffer, name);
    if (value) {
        cvm_buffer_text(buffer, ": ");
        cvm_buffer_text(buffer, value);
    }
    lines->failed |= buffer->failed;
    lines->list[lines->count++] = buffer->text;
}

static void lines_free(struct lines *lines)
{
    for (uint32_t i = 0; i < MOST_HEADERS; i++)
        cvm_buffer_free(&lines->buffers[i]);
}

/* Those that are signed, and then the signature's. 0, or -1 without memory. */
static int32_t call_sign(
    struct aws_call *call, const struct aws_keys *keys, const char *body, struct lines *lines)
{
    struct aws_client *client = call->client;
    struct cvm_buffer authorization = {.most = 65536};
    char date[AWS_DATE_SIZE];
    if (call->content_type)
        lines_add(lines, "content-type", call->content_type);
    if (call->target)
        lines_add(lines, "x-amz-target", call->target);
    if (call->header)
        lines_add(lines, call->header, NULL);
    const struct aws_to_sign request = {.method = call->method,
        .host = client->place.host,
        .path = call->path,
        .query = call->query,
        .headers = lines->list,
        .header_count = lines->count,
        .body = body,
        .length = call->body.length,
        .region = client->place.region,
        .service = client->service,
        .now_ms = cvm_now_ms() + client->clock_offset_ms};
    int32_t failed =
        lines->failed || cvm_aws_sign(&client->signer, keys, &request, date, &authorization);
    if (!failed) {
        lines_add(lines, "x-amz-date", date);
        if (keys->token)
            lines_add(lines, "x-amz-security-token", keys->token);
        lines_add(lines, "authorization", authorization.text);
        failed = lines->failed;
    }
    cvm_buffer_free(&authorization);
    return failed ? -1 : 0;
}

static int32_t call_send(struct aws_call *call, const struct aws_keys *keys)
{
    const struct aws_client *client = call->client;
    struct lines lines = {.count = 0};
    struct cvm_buffer url = {.most = 8192};
    int64_t left_ms = call_left_ms(call);
    const char *body = call->body.text        ? call->body.text
                       : *call->method == 'P' ? ""
                                              : NULL; /* POST, PUT and PATCH have one */
    int32_t failed = call->body.failed || call_sign(call, keys, body, &lines);
    cvm_buffer_text(&url, client->place.url);
    cvm_buffer_text(&url, call->path);
    if (*call->query)
        cvm_buffer_text(&url, "?");
    cvm_buffer_text(&url, call->query);
    const struct aws_http_request request = {.method = call->method,
        .url = url.text,
        .headers = lines.list,
        .header_count = lines.count,
        .body = body,
        .length = call->body.length,
        .timeout_ms = left_ms < TRY_MS || call->is_unsafe ? left_ms : TRY_MS,
        .is_plain = client->place.is_plain,
        .is_fresh = call->is_unsafe};
    if (!failed && !url.failed)
        call->exchange = cvm_aws_http_send(client->http, &request, call_answered, call);
    call->sent_ms = cvm_monotonic_ms();
    cvm_buffer_free(&url);
    lines_free(&lines);
    return call->exchange ? 0 : -1;
}

static void call_got_keys(struct aws_waiter *waiter, const struct aws_keys *keys, const char *why)
{
    struct aws_call *call =
        (struct aws_call *)(void *)((char *)waiter - offsetof(struct aws_call, waiter));
    call->tries++;
    call->keys_number = keys ? keys->number : 0;
    cJSON_Delete(call->answer); /* an earlier try's */
    call->answer = NULL;
    *call->error = 0;
    if (!keys)
        call_fail(call, why);
    else if (call_left_ms(call) < LEAST_LEFT_MS)
        call_fail(call, "there was no time left");
    else if (call_send(call, keys))
        call_fail(call, "out of memory");
}

static void call_try(void *argument)
{
    struct aws_call *call = argument;
    cvm_aws_credentials_ask(call->client->credentials, &call->waiter);
}

void cvm_aws_call(struct aws_call *call)
{
    struct aws_client *client = call->client;
    call->tries = 0;
    call->in_doubt = call->is_corrected = 0;
    *call->error = *call->text = 0;
    call->waiter.told = call_got_keys;
    call->next = client->running;
    call->link = &client->running;
    if (client->running)
        client->running->link = &call->next;
    client->running = call;
    if (call->pace && cvm_aws_pace_wait_ms(call->pace)) {
        if (!call_try_later(call, 0))
            call_fail(call, "the quota is spent for now");
        return;
    }
    if (call->pace)
        cvm_aws_pace_take(call->pace);
    call_try(call);
}

/* --- The client ------------------------------------------------------------------------------- */

int32_t cvm_aws_client_init(struct aws_client *client, const cvm_host_t *host,
    cvm_context_t *context, const char *service, const char *signed_for, char *error,
    size_t error_size)
{
    *client = (struct aws_client){
        .host = host, .context = context, .service = signed_for, .retry_tokens = RETRY_TOKENS};
    return cvm_aws_place_find(host, context, service, &client->place, error, error_size);
}

int32_t cvm_aws_client_open(struct aws_client *client)
{
    const char *root_ca = client->host->property(client->context, "aws.root_ca");
    const char *bundle = cvm_aws_variable("AWS_CA_BUNDLE");
    const struct aws_http_options options = {.root_ca = root_ca && *root_ca ? root_ca
                                                        : bundle            ? bundle
                                                                            : "",
        .proxy = client->host->property(client->context, "aws.proxy")};
    if (client->http)
        return 0; /* of an attempt to open that failed */
    client->http = cvm_aws_http_new(client->host, client->context, &options);
    client->credentials =
        client->http ? cvm_aws_credentials_new(client->host, client->context, client->http) : NULL;
    if (client->credentials && !cvm_aws_signer_init(&client->signer))
        return 0;
    cvm_aws_client_close(client);
    return -1;
}

void cvm_aws_client_close(struct aws_client *client)
{
    while (client->running)
        cvm_aws_call_cancel(client->running);
    cvm_aws_credentials_free(client->credentials);
    cvm_aws_http_free(client->http);
    cvm_aws_signer_clear(&client->signer);
    client->credentials = NULL;
    client->http = NULL;
}
