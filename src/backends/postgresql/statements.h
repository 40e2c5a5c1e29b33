/* Every statement of the store, for one schema. */
#ifndef CVM_POSTGRESQL_STATEMENTS_H
#define CVM_POSTGRESQL_STATEMENTS_H

#include <stddef.h>

enum statement {
    GET_DEVICE,
    GET_CERTIFICATES,
    SCAN_DEVICES,
    SCAN_DUE,
    SCAN_UNSUSPENDED,
    SCAN_ENDED_LEASES,
    SCAN_REVOKED,
    SCAN_SUSPENDED,
    SCAN_CERTIFICATES,
    SCAN_META,
    FIND_CERTIFICATE,
    FIND_THING,
    FIND_KEY,
    GET_META,
    GET_NOW,
    GET_READY,
    LOCK_ALL,
    FENCE,
    INSERT_DEVICE,
    UPDATE_DEVICE,
    UPDATE_DEVICE_WITH_ONE, /* certificate, and no key that is lost */
    UPDATE_DEVICE_ALONE,    /* no certificate, and no key that comes or goes */
    DELETE_DEVICE,
    WRITE_CERTIFICATES,
    INSERT_META,
    UPDATE_META,
    DELETE_META,
    LOAD_DEVICES,
    LOAD_PLAIN_DEVICES,
    LOAD_KEYS,
    LOAD_CERTIFICATES,
    LOAD_CERTIFICATE_KEYS,
    REPLACE_TOKENS,
    LOAD_STATES,
    STATEMENT_COUNT
};

/* An expression: whether the server takes no writes; and what people are told then. */
#define CVM_SQL_READ_ONLY  "pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'"
#define CVM_TEXT_READ_ONLY "PostgreSQL takes no writes: it is read-only"

#define CVM_STATEMENT_NAME_SIZE 16
/* What it is prepared as. Returns name. */
const char *cvm_statement_name(enum statement statement, char name[CVM_STATEMENT_NAME_SIZE]);
/* Its text, freed by the caller; NULL without memory. schema: a plain name. */
char *cvm_statement_text(enum statement statement, const char *schema);
/* The same for any text in which "@" stands for the schema's tables (see statements.c). */
char *cvm_statement_render(const char *form, const char *schema);

#endif
