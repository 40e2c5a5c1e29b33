/* What DynamoDB answers, as any bytes: a row and a state that are read, and the change that is made
 * of what was read. What is sent is JSON, whatever was answered. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "backends/dynamodb/certificate.h"
#include "backends/dynamodb/device.h"
#include "base/json.h"
#include "instance.h"

static void check_request(const struct expression *expression)
{
    struct cvm_buffer body = {.most = 1u << 20};
    const char *why = NULL;
    cvm_dynamo_print_target(&body, "table", "key", NULL);
    cvm_dynamo_print_expression(&body, expression, 0);
    CHECK(!body.failed);
    cJSON *tree = cvm_json_answer(body.text, body.length, &why);
    CHECK(tree);
    cJSON_Delete(tree);
    cvm_buffer_free(&body);
}

/* The device is written as it was read, and its state with it. */
static void write_device(const cvm_record_t *device, const cJSON *row)
{
    struct expression expression = {.name_count = 0};
    cvm_dynamo_expression_clear(&expression);
    cvm_dynamo_row_is(&expression, &CVM_HOST, device);
    cvm_dynamo_row_becomes(&expression, &CVM_HOST, device, device, 1, cvm_dynamo_flag_type(row));
    check_request(&expression);
    cvm_dynamo_expression_clear(&expression);
    cvm_dynamo_state_is(&expression, &CVM_HOST, device);
    cvm_dynamo_state_becomes(&expression, &CVM_HOST, device, 1);
    check_request(&expression);
    cvm_dynamo_expression_free(&expression);
}

static void write_certificate(const cvm_record_t *certificate)
{
    struct expression expression = {.name_count = 0};
    cvm_dynamo_expression_clear(&expression);
    cvm_dynamo_certificate_becomes(&expression, &CVM_HOST, certificate, 0);
    check_request(&expression);
    cvm_dynamo_expression_free(&expression);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *why = "";
    char *bytes = malloc(size + 1);
    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    bytes[size] = 0;
    cJSON *answer = cvm_json_answer(bytes, size, &why);
    CHECK(!answer == !!why);
    const cJSON *row = cJSON_GetObjectItemCaseSensitive(answer, "row"),
                *state = cJSON_GetObjectItemCaseSensitive(answer, "state");
    cvm_record_t *device = answer ? cvm_dynamo_device(&CVM_HOST, row, state) : NULL;
    cvm_record_t *certificate = answer ? cvm_dynamo_certificate(&CVM_HOST, state, 1) : NULL;
    if (device)
        write_device(device, row);
    if (certificate)
        write_certificate(certificate);
    (void)cvm_dynamo_device_is_torn(row, state);
    for (uint32_t i = 0; cvm_dynamo_member(state, "certificates", i); i++)
        CHECK(i < 100000);
    CVM_HOST.record_free(device);
    CVM_HOST.record_free(certificate);
    cJSON_Delete(answer);
    free(bytes);
    return 0;
}
