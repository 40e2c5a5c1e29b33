/* Records to and from rows. */
#ifndef CVM_FILE_ROWS_H
#define CVM_FILE_ROWS_H

#include "cvm/plugin.h"
#include "db.h"

/* Binds the fields from `from` to the end, in order, to the parameters after `parameter`. Returns
 * the last parameter bound. */
int cvm_rows_bind(const cvm_host_t *host, sqlite3_stmt *prepared, int parameter,
    const cvm_record_t *record, cvm_record_kind_t kind, uint32_t from);
/* The current row as a record; NULL without memory. */
cvm_record_t *cvm_rows_read(const cvm_host_t *host, sqlite3_stmt *prepared, cvm_record_kind_t kind);

#endif
