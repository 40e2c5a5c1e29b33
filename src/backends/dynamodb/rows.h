/* The rows of our table that others lead to: they are asked for, and found, by what they are of. */
#ifndef CVM_DYNAMODB_ROWS_H
#define CVM_DYNAMODB_ROWS_H

#include "store.h"

/* Add to what is looked at; -1 without memory, which cvm_dynamo_look() tells too. */
int32_t cvm_dynamo_look_state(struct look *look, const char *device_uid);
int32_t cvm_dynamo_look_certificate(struct look *look, const char *certificate_id);
int32_t cvm_dynamo_look_key(struct look *look, const char *public_key_sha256);
/* All certificates that a device's state names; state may be NULL. */
void cvm_dynamo_look_certificates(struct look *look, const cJSON *state);

/* What was found; NULL: nothing, or it was not looked at. */
const cJSON *cvm_dynamo_state(const struct look *look, const char *device_uid);
const cJSON *cvm_dynamo_certificate_row(const struct look *look, const char *certificate_id);
const cJSON *cvm_dynamo_key_row(const struct look *look, const char *public_key_sha256);

#endif
