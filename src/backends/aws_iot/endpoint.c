/* What devices connect to, and whom they trust there. AWS is asked once a day; what it answered is
 * kept in the store, for those that come by, and counts for as long as nothing newer is to be had.
 */
#include "endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/roots.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/pem.h"
#include "platform.h"

#define FRESH_MS     (INT64_C(24) * 3600 * 1000)
#define AGAIN_MS     60000 /* after a failure */
#define LARGEST_ROOT 65536
#define NAME         "aws_iot_endpoint:" /* of the store's value; then comes the region */
#define AMAZON       "https://www.amazontrust.com/repository/"

/* A step that can ask. */
struct asking {
    struct step step;
    char address[IOT_ADDRESS_SIZE];
    struct aws_exchange *exchange;
    int64_t version;   /* of the store's value */
    int32_t is_asking; /* for all: the others take what is there */
    void (*then)(struct step *step);
};

static struct asking *asking_of(struct step *step)
{
    return (struct asking *)(void *)step;
}

/* --- Root CAs --------------------------------------------------------------------------------- */

/* Amazon's own are compiled in. NULL: it is another one's. */
static const char *shipped_root(const char *url)
{
    static const char *const FILES[] = {"AmazonRootCA1.pem", "AmazonRootCA2.pem",
        "AmazonRootCA3.pem", "AmazonRootCA4.pem", "SFSRootCAG2.pem"};
    if (strncmp(url, AMAZON, strlen(AMAZON)) == 0)
        for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++)
            if (strcmp(url + strlen(AMAZON), FILES[i]) == 0)
                return CVM_AWS_ROOTS[i];
    return NULL;
}

const char *cvm_iot_root_ca(const struct platform *platform)
{
    const struct iot_endpoint *endpoint = &platform->endpoint;
    return endpoint->shipped_root ? endpoint->shipped_root : endpoint->root_ca;
}

/* --- What is known ---------------------------------------------------------------------------- */

static int32_t endpoint_is_known(const struct platform *platform)
{
    return *platform->endpoint.address && cvm_iot_root_ca(platform);
}

/* root_ca is taken over; NULL leaves what is there. */
static void know(struct platform *platform, const char *address, char *root_ca, int64_t fresh_ms)
{
    struct iot_endpoint *endpoint = &platform->endpoint;
    (void)snprintf(endpoint->address, sizeof endpoint->address, "%s", address);
    if (root_ca) {
        free(endpoint->root_ca);
        endpoint->root_ca = root_ca;
    }
    endpoint->fresh_until_ms = (int64_t)cvm_monotonic_ms() + fresh_ms;
}

/* Nothing new: what is known counts on, or the step ends. */
static void asking_failed(struct asking *asking, cvm_answer_t answer, const char *why)
{
    struct platform *platform = asking->step.platform;
    char text[AWS_TEXT_SIZE];
    if (!endpoint_is_known(platform)) {
        cvm_iot_end(&asking->step, answer, why);
        return;
    }
    platform->endpoint.fresh_until_ms = (int64_t)cvm_monotonic_ms() + AGAIN_MS;
    platform->endpoint.is_doubted = 0;
    (void)snprintf(text, sizeof text, "the last known endpoint is told on: %.200s", why);
    platform->aws.host->log(platform->aws.context, CVM_LEVEL_WARNING, text);
    asking->then(&asking->step);
}

/* --- Kept in the store ------------------------------------------------------------------------ */

static void value_name(const struct platform *platform, char name[CVM_LONGEST_NAME])
{
    (void)snprintf(name, CVM_LONGEST_NAME, NAME "%s", platform->aws.client.place.region);
}

/* Another server was faster, or the store can't: the next one will. */
static void value_put(struct step *step, const cvm_op_t *op, cvm_answer_t answer)
{
    (void)op;
    (void)answer;
    asking_of(step)->then(step);
}

static void value_write(struct asking *asking)
{
    const struct platform *platform = asking->step.platform;
    struct cvm_buffer text = {.most = CVM_LARGEST_VALUE};
    char name[CVM_LONGEST_NAME];
    value_name(platform, name);
    cvm_buffer_text(&text, "{\"endpoint\":");
    cvm_buffer_json(&text, platform->endpoint.address);
    cvm_buffer_text(&text, ",\"root_ca_url\":");
    cvm_buffer_json(&text, platform->endpoint.root_url);
    cvm_buffer_text(&text, ",\"root_ca\":");
    cvm_buffer_json(&text, platform->endpoint.root_ca ? platform->endpoint.root_ca : "");
    cvm_buffer_text(&text, ",\"asked_at\":");
    cvm_buffer_number(&text, platform->aws.host->now_ms(platform->aws.context));
    cvm_buffer_text(&text, "}");
    if (text.failed)
        asking->then(&asking->step);
    else
        cvm_iot_put_value(&asking->step, name, asking->version, text.text, value_put);
    cvm_buffer_free(&text);
}

static void endpoint_ask(struct asking *asking);

/* Takes what the store has; how long that is fresh yet, or 0. */
static int64_t value_take(struct platform *platform, const char *text)
{
    const char *why;
    cJSON *value = cvm_json_object(text, strlen(text), &why);
    const char *address = cvm_iot_text(value, "endpoint"), *root = cvm_iot_text(value, "root_ca");
    int64_t age_ms =
        platform->aws.host->now_ms(platform->aws.context) - cvm_iot_time(value, "asked_at");
    int64_t fresh_ms = age_ms >= 0 && age_ms < FRESH_MS ? FRESH_MS - age_ms : 0;
    int32_t is_of_url =
        strcmp(cvm_iot_text(value, "root_ca_url"), platform->endpoint.root_url) == 0;
    if (*address && is_of_url)
        know(platform, address, cvm_pem_certificates(root, strlen(root)), fresh_ms);
    cJSON_Delete(value);
    return endpoint_is_known(platform) && is_of_url && !platform->endpoint.is_doubted ? fresh_ms
                                                                                      : 0;
}

static void value_got(struct step *step, const cvm_op_t *op, cvm_answer_t answer)
{
    struct asking *asking = asking_of(step);
    const cvm_host_t *host = step->platform->aws.host;
    const char *text = answer == CVM_ANSWER_OK ? host->op_text(op, CVM_OUT_VALUE) : NULL;
    asking->version = text ? host->op_number(op, CVM_OUT_VERSION) : 0;
    if (text && value_take(step->platform, text))
        asking->then(step);
    else
        endpoint_ask(asking);
}

/* --- Asked ------------------------------------------------------------------------------------ */

static void asked(struct asking *asking, char *root_ca)
{
    know(asking->step.platform, asking->address, root_ca, FRESH_MS);
    asking->step.platform->endpoint.is_doubted = 0;
    value_write(asking);
}

static void root_told(void *argument, const struct aws_http_response *response)
{
    struct asking *asking = argument;
    char why[AWS_TEXT_SIZE], *root_ca = NULL;
    asking->exchange = NULL;
    if (!response->failure && response->status == 200)
        root_ca = cvm_pem_certificates(response->body, response->length);
    if (root_ca) {
        asked(asking, root_ca);
        return;
    }
    if (response->failure || response->status == 200)
        (void)snprintf(why, sizeof why, "aws.iot_root_ca_url: %.160s",
            response->failure ? response->failure : "there is no certificate, or a spoiled one");
    else
        (void)snprintf(why, sizeof why, "aws.iot_root_ca_url: HTTP %d", response->status);
    asking_failed(asking, CVM_ANSWER_UNAVAILABLE, why);
}

static void root_fetch(struct asking *asking)
{
    const struct platform *platform = asking->step.platform;
    int64_t left_ms = cvm_aws_job_left_ms(&asking->step.aws);
    const struct aws_http_request request = {.method = "GET",
        .url = platform->endpoint.root_url,
        .timeout_ms = left_ms > 0 ? left_ms : 1,
        .largest = LARGEST_ROOT};
    asking->exchange = cvm_aws_http_send(platform->aws.client.http, &request, root_told, asking);
    if (!asking->exchange)
        asking_failed(asking, CVM_ANSWER_UNAVAILABLE, "out of memory");
}

static void endpoint_told(struct step *step)
{
    struct asking *asking = asking_of(step);
    const char *address = cvm_iot_text(step->aws.call.answer, "endpointAddress");
    int32_t is_refused = cvm_iot_refused(step, INVALID);
    if (step->aws.call.outcome != AWS_OK)
        asking_failed(asking,
            is_refused && step->aws.verb == VERB_ASKS ? CVM_ANSWER_INVALID : CVM_ANSWER_UNAVAILABLE,
            step->aws.call.text);
    else if (!*address || strlen(address) >= sizeof asking->address)
        asking_failed(asking, CVM_ANSWER_UNAVAILABLE, "AWS IoT answers no endpoint");
    else {
        (void)snprintf(asking->address, sizeof asking->address, "%s", address);
        if (step->platform->endpoint.shipped_root)
            asked(asking, NULL);
        else
            root_fetch(asking);
    }
}

static void endpoint_ask(struct asking *asking)
{
    asking->step.takes_all = 1;
    cvm_iot_path(&asking->step, "endpoint", NULL, NULL);
    cvm_iot_call(
        &asking->step, IOT_DESCRIBE_ENDPOINT, "endpointType=iot%3AData-ATS", endpoint_told);
}

/* --- Asking ----------------------------------------------------------------------------------- */

static void asking_clear(struct step *step)
{
    struct asking *asking = asking_of(step);
    if (asking->is_asking)
        step->platform->endpoint.is_asked = 0;
    if (asking->exchange)
        cvm_aws_http_cancel(asking->exchange);
}

struct step *cvm_iot_asking_step(struct platform *platform, cvm_op_t *op, enum aws_verb verb,
    const cvm_record_t *device, const cvm_record_t *certificate)
{
    struct step *step =
        cvm_iot_step_of_size(platform, op, verb, device, certificate, sizeof(struct asking));
    if (step)
        step->clear = asking_clear;
    return step;
}

void cvm_iot_with_endpoint(struct step *step, void (*then)(struct step *step))
{
    struct asking *asking = asking_of(step);
    struct iot_endpoint *endpoint = &step->platform->endpoint;
    char name[CVM_LONGEST_NAME];
    int32_t is_fresh = (int64_t)cvm_monotonic_ms() < endpoint->fresh_until_ms;
    if (endpoint_is_known(step->platform) && (is_fresh || endpoint->is_asked)) {
        then(step);
        return;
    }
    asking->then = then;
    asking->is_asking = endpoint->is_asked = 1;
    value_name(step->platform, name);
    cvm_iot_get_value(step, name, value_got);
}

/* --- The platform's part ---------------------------------------------------------------------- */

int32_t cvm_iot_endpoint_init(struct platform *platform, char *error, size_t error_size)
{
    const char *url = platform->aws.host->property(platform->aws.context, "aws.iot_root_ca_url");
    platform->endpoint.root_url = url;
    platform->endpoint.shipped_root = shipped_root(url);
    if (strncmp(url, "https://", 8) == 0)
        return 0;
    (void)snprintf(error, error_size, "aws.iot_root_ca_url must begin with https://");
    return -1;
}

void cvm_iot_forget_endpoint(struct platform *platform)
{
    platform->endpoint.fresh_until_ms = 0;
    platform->endpoint.is_doubted = 1;
}

void cvm_iot_endpoint_clear(struct platform *platform)
{
    free(platform->endpoint.root_ca);
}
