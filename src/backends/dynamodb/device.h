/* A device as its two rows have it: the maker's, and its state in ours. */
#ifndef CVM_DYNAMODB_DEVICE_H
#define CVM_DYNAMODB_DEVICE_H

#include "item.h"

/* Makes the record. state: NULL without one. NULL without memory. */
cvm_record_t *cvm_dynamo_device(const cvm_host_t *host, const cJSON *row, const cJSON *state);
/* 1 if the rows were not written by one and the same change: one of them was read before it, the
 * other after. */
int32_t cvm_dynamo_device_is_torn(const cJSON *row, const cJSON *state);
/* 1 if the row says that we have written it, and that the device is registered, but there is no
 * state: it comes with the same change, or another system has registered it. */
int32_t cvm_dynamo_device_lacks_state(const cJSON *row, const cJSON *state);
/* 1 if the record has more than the maker's row holds. */
int32_t cvm_dynamo_device_has_state(const cvm_host_t *host, const cvm_record_t *device);

/* When the device's lease is to be looked at, and when what its is_enabled says is to be carried
 * out; -1: never. device may be NULL. */
int64_t cvm_dynamo_lease_ms(const cvm_host_t *host, const cvm_record_t *device);
int64_t cvm_dynamo_suspension_ms(const cvm_host_t *host, const cvm_record_t *device);

/* The condition that a row of the maker's is as the record says that it was read. */
void cvm_dynamo_row_is(
    struct expression *expression, const cvm_host_t *host, const cvm_record_t *as_read);
/* Its update. flag_type: is_enabled's in the row ('N', 'S' or 'B'). */
void cvm_dynamo_row_becomes(struct expression *expression, const cvm_host_t *host,
    const cvm_record_t *as_read, const cvm_record_t *wanted, int64_t revision, char flag_type);
/* Prints a new row as an item. */
void cvm_dynamo_print_row(
    struct cvm_buffer *to, const cvm_host_t *host, const cvm_record_t *wanted, int64_t revision);
/* The type of is_enabled in a row: 'N' if it has none that we know. */
char cvm_dynamo_flag_type(const cJSON *row);

/* The condition that the state is as it was read; as_read: NULL, or without a state, for none. */
void cvm_dynamo_state_is(
    struct expression *expression, const cvm_host_t *host, const cvm_record_t *as_read);
/* Its update; wanted: NULL, or without a state, for none. */
void cvm_dynamo_state_becomes(struct expression *expression, const cvm_host_t *host,
    const cvm_record_t *wanted, int64_t revision);

#endif
