/* Rows by what they are of: store.h has the list of the keys. */
#include "rows.h"

#include "item.h"
#include "key.h"

int32_t cvm_dynamo_look_state(struct look *look, const char *device_uid)
{
    char pk[DYNAMO_KEY_SIZE];
    return cvm_dynamo_look_add(look, OURS, cvm_dynamo_key(pk, "U#", device_uid), "S");
}

int32_t cvm_dynamo_look_certificate(struct look *look, const char *certificate_id)
{
    char pk[DYNAMO_KEY_SIZE];
    return cvm_dynamo_look_add(look, OURS, cvm_dynamo_key(pk, "C#", certificate_id), "C");
}

int32_t cvm_dynamo_look_key(struct look *look, const char *public_key_sha256)
{
    char pk[DYNAMO_KEY_SIZE];
    return cvm_dynamo_look_add(look, OURS, cvm_dynamo_key(pk, "K#", public_key_sha256), "K");
}

void cvm_dynamo_look_certificates(struct look *look, const cJSON *state)
{
    const char *id;
    for (uint32_t i = 0; (id = cvm_dynamo_member(state, "certificates", i)) && !look->failed; i++)
        (void)cvm_dynamo_look_certificate(look, id);
}

const cJSON *cvm_dynamo_state(const struct look *look, const char *device_uid)
{
    char pk[DYNAMO_KEY_SIZE];
    return cvm_dynamo_find(look, OURS, cvm_dynamo_key(pk, "U#", device_uid), "S");
}

const cJSON *cvm_dynamo_certificate_row(const struct look *look, const char *certificate_id)
{
    char pk[DYNAMO_KEY_SIZE];
    return cvm_dynamo_find(look, OURS, cvm_dynamo_key(pk, "C#", certificate_id), "C");
}

const cJSON *cvm_dynamo_key_row(const struct look *look, const char *public_key_sha256)
{
    char pk[DYNAMO_KEY_SIZE];
    return cvm_dynamo_find(look, OURS, cvm_dynamo_key(pk, "K#", public_key_sha256), "K");
}
