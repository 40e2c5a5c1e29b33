/* The store's records, seen and changed beside the instances of a test, by the store's own verbs:
 * so that a test runs over any store. No other instance moves meanwhile, so that these may be
 * called from within one. What fails fails the test. */
#ifndef CVM_TESTS_RECORDS_H
#define CVM_TESTS_RECORDS_H

#include "support/test.h"

#include "cvm/plugin.h"

/* Each of them is static until the next call of the same function; "" and 0 for what is not there.
 */
const char *device_text(const char *uid, uint32_t field);
int64_t device_number(const char *uid, uint32_t field);
const char *certificate_text(const char *uid, const char *id, uint32_t field);
int32_t device_has_lease(const char *uid);
/* Of the first one in that state. */
int64_t certificates_number(const char *uid, const char *state, uint32_t field);

/* How many certificates of all devices are in that state; NULL: in any. */
uint32_t count_certificates(const char *state);
/* How many of them have that text there. */
uint32_t count_certificates_with(uint32_t field, const char *text);
/* 1 if the store leads to the certificate: as a device's current one, in a lease, or retiring. */
int32_t is_recorded(const char *certificate_id);

/* As somebody else writes it: with another revision. text: NULL empties it. */
void set_device_text(const char *uid, uint32_t field, const char *text);
void set_device_number(const char *uid, uint32_t field, int64_t number);
/* The same record again. */
void touch_device(const char *uid);
/* It leaves its certificates. */
void delete_device(const char *uid);
/* Of the device's certificates those in that state. */
void set_certificates_number(const char *uid, const char *state, uint32_t field, int64_t number);
void set_certificates_state(
    const char *uid, const char *from, const char *to, const char *reason, int64_t revoke_after_ms);

/* Certificates that nobody made, all later than any that was. */
struct certificates {
    uint32_t first, count; /* their numbers */
    const char *uid; /* NULL: each has a device of its own, "D" and its number, that is gone */
    int32_t has_short_ids; /* "C" and the number; else 64 hex digits */
    const char *state, *reason;
    int64_t revoke_after_ms; /* 0: the number */
};
void insert_certificates(const struct certificates *certificates);

/* A value of the store's. */
const char *value_text(const char *name);
void set_value(const char *name, const char *value);

/* The clock of all instances of the process goes on by so much (or back), and with it their leases,
 * until it is restored: at the end of a test. */
void time_passes(int64_t ms);
void time_is_restored(void);

#endif
