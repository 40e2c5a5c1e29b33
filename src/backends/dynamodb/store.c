/* The DynamoDB store's table of verbs, its life, and its properties. */
#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/hex.h"
#include "dynamodb.h"

int64_t cvm_dynamo_random(void)
{
    char text[17] = "";
    if (cvm_random_hex(8, text))
        (void)snprintf(text, sizeof text, "%016llx", (unsigned long long)cvm_monotonic_us());
    return (int64_t)((strtoull(text, NULL, 16) & ((UINT64_C(1) << 62) - 1)) | 1);
}

/* --- Create and destroy ----------------------------------------------------------------------- */

static void destroy(void *self)
{
    cvm_dynamo_forget_states(self);
    free(self);
}

/* As AWS has them: 3 to 255 of these. */
static int32_t is_table(const char *name)
{
    size_t length =
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return length >= 3 && !name[length] && length < DYNAMO_TABLE_SIZE;
}

static int32_t store_name_tables(
    struct store *store, const char *location, char *error, size_t error_size)
{
    const char *own = store->aws.host->property(store->aws.context, "dynamodb.state_table");
    char usual[DYNAMO_TABLE_SIZE + 8];
    (void)snprintf(usual, sizeof usual, "%s-cvm", location);
    if (!own || !*own)
        own = usual;
    if (!is_table(location) || !is_table(own) || strcmp(location, own) == 0) {
        (void)snprintf(error, error_size,
            "expected dynamodb:TABLE, and another table in dynamodb.state_table: names of 3 to 255 "
            "of A-Z a-z 0-9 . _ -");
        return -1;
    }
    memcpy(store->tables[MAKERS], location, strlen(location) + 1);
    memcpy(store->tables[OURS], own, strlen(own) + 1);
    return 0;
}

static cvm_answer_t create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **result, char *error, size_t error_size)
{
    (void)user_data;
    const char *platform = host->property(context, "platform");
    struct store *store = calloc(1, sizeof *store);
    if (!store || cvm_crypto_init()) {
        free(store);
        (void)snprintf(error, error_size, "out of memory");
        return CVM_ANSWER_INVALID;
    }
    store->aws.host = host;
    store->aws.context = context;
    store->aws.timeout_ms = host->property_number(context, "dynamodb.timeout");
    store->lists_revoked = !platform || strncmp(platform, "aws-iot", 7) != 0;
    if (store_name_tables(store, location, error, error_size) ||
        cvm_aws_client_init(
            &store->aws.client, host, context, "dynamodb", "dynamodb", error, error_size)) {
        free(store);
        return CVM_ANSWER_INVALID;
    }
    *result = store;
    return CVM_ANSWER_OK;
}

/* --- Close ------------------------------------------------------------------------------------ */

static void close_store(void *self, cvm_op_t *op)
{
    cvm_aws_backend_close(&((struct store *)self)->aws, op);
}

/* --- Getting in ------------------------------------------------------------------------------- */

static const cvm_store_ops_t DYNAMODB_STORE = {
    .size = sizeof(cvm_store_ops_t),
    .flags = CVM_STORE_SHARED | CVM_STORE_UNIQUE_KEYS | CVM_STORE_EXTRA_FIELDS,
    .device_fields = CVM_DEVICE_FIELD_COUNT,
    .certificate_fields = CVM_CERTIFICATE_FIELD_COUNT,
    .create = create,
    .open = cvm_dynamo_open,
    .ready = cvm_dynamo_ready,
    .get = cvm_dynamo_get,
    .swap = cvm_dynamo_change,
    .get_certificates = cvm_dynamo_get_certificates,
    .scan = cvm_dynamo_scan,
    .load = cvm_dynamo_load,
    .meta_get = cvm_dynamo_meta_get,
    .meta_put = cvm_dynamo_meta_put,
    .remove = cvm_dynamo_change,
    .find = cvm_dynamo_find_uid,
    .now = cvm_dynamo_now,
    .close = close_store,
    .destroy = destroy,
    .migrate = cvm_dynamo_migrate,
    .check = cvm_dynamo_check,
};

static const cvm_property_row_t PROPERTIES[] = {
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "dynamodb.state_table", CVM_TYPE_TEXT,
        "", NULL,
        "The table of what the devices' own table does not hold, certificates among it; empty: "
        "that one's name and -cvm."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "dynamodb.timeout", CVM_TYPE_DURATION,
        "10s", "1s to 1min", "How long an operation may take, with all that is tried again."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "aws.region", CVM_TYPE_TEXT, "", NULL,
        "AWS's region; empty: as AWS_REGION or the profile says."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "aws.endpoint_dynamodb", CVM_TYPE_TEXT,
        "", NULL, "DynamoDB's endpoint, such as http://127.0.0.1:8000; empty: the region's."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "aws.root_ca", CVM_TYPE_PATH, "", NULL,
        "PEM file of whom AWS's endpoints are trusted by; empty: Amazon's roots."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "aws.proxy", CVM_TYPE_TEXT, "", NULL,
        "URL of an HTTP proxy on the way to AWS; the environment's are not looked at."},
};

int32_t cvm_plugin_dynamodb(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    static const struct {
        const char *property, *value;
    } DEFAULTS[] = {
        {"store.plain_tokens", "true"}, /* the reference's table holds them so */
        {"reconcile.interval", "1min"}, /* each look is paid for */
    };
    int32_t failed = host->add_store(registry, "dynamodb", &DYNAMODB_STORE, user_data, NULL, 0);
    for (size_t i = 0; i < sizeof PROPERTIES / sizeof PROPERTIES[0] && !failed; i++)
        failed = host->add_property(registry, &PROPERTIES[i], NULL, 0);
    for (size_t i = 0; i < sizeof DEFAULTS / sizeof DEFAULTS[0] && !failed; i++)
        failed = host->add_default(
            registry, "dynamodb", DEFAULTS[i].property, DEFAULTS[i].value, NULL, 0);
    return failed;
}
