/* The parameters of one statement: texts as libpq takes them. What does not fit into memory is said
 * once, at the end. */
#ifndef CVM_POSTGRESQL_PARAMS_H
#define CVM_POSTGRESQL_PARAMS_H

#include <stddef.h>

#include "cvm/plugin.h"

#define CVM_MOST_PARAMS 48 /* of a change: 7, and all fields of both kinds */
_Static_assert(7 + CVM_DEVICE_FIELD_COUNT + CVM_CERTIFICATE_FIELD_COUNT <= CVM_MOST_PARAMS,
    "room for the fields");

struct params {
    const char *values[CVM_MOST_PARAMS]; /* NULL: SQL's */
    char *owned[CVM_MOST_PARAMS];
    char numbers[CVM_MOST_PARAMS][24];
    int count;
    int32_t failed; /* out of memory */
};

/* Borrowed until it is cleared. An empty text is NULL in the tables. */
void cvm_params_text(struct params *params, const char *text);
void cvm_params_number(struct params *params, int64_t number);
/* The same as arrays: {"a",NULL}. */
void cvm_params_texts(struct params *params, const char *const *texts, uint32_t count);
void cvm_params_numbers(struct params *params, const int64_t *numbers, uint32_t count);
/* One field of all records. */
void cvm_params_column(struct params *params, const cvm_host_t *host,
    const cvm_record_t *const *records, uint32_t count, cvm_record_kind_t kind, uint32_t field);
/* Wipes what it owns: tokens are among it. */
void cvm_params_clear(struct params *params);

#endif
