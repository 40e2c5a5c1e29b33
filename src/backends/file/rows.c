/* One loop over the field tables does for all columns. An empty text is NULL in the file. */
#include "rows.h"

struct column {
    cvm_field_kind_t kind;
};

#define COLUMN(id, name, kind, longest) {CVM_FIELD_##kind},
static const struct column DEVICE_COLUMNS[] = {CVM_DEVICE_FIELDS(COLUMN)};
static const struct column CERTIFICATE_COLUMNS[] = {CVM_CERTIFICATE_FIELDS(COLUMN)};

static const struct column VALUE_COLUMNS[] = {CVM_VALUE_FIELDS(COLUMN)};

static const struct {
    const struct column *columns;
    uint32_t count;
} TABLES[] = {
    [CVM_RECORD_DEVICE] = {DEVICE_COLUMNS, CVM_DEVICE_FIELD_COUNT},
    [CVM_RECORD_CERTIFICATE] = {CERTIFICATE_COLUMNS, CVM_CERTIFICATE_FIELD_COUNT},
    [CVM_RECORD_VALUE] = {VALUE_COLUMNS, CVM_VALUE_FIELD_COUNT},
};

int cvm_rows_bind(const cvm_host_t *host, sqlite3_stmt *prepared, int parameter,
    const cvm_record_t *record, cvm_record_kind_t kind, uint32_t from)
{
    for (uint32_t i = from; i < TABLES[kind].count; i++) {
        if (TABLES[kind].columns[i].kind == CVM_FIELD_NUMBER) {
            (void)sqlite3_bind_int64(prepared, ++parameter, host->number(record, i));
        } else {
            const char *text = host->text(record, i);
            (void)sqlite3_bind_text(prepared, ++parameter, *text ? text : NULL, -1, SQLITE_STATIC);
        }
    }
    return parameter;
}

cvm_record_t *cvm_rows_read(const cvm_host_t *host, sqlite3_stmt *prepared, cvm_record_kind_t kind)
{
    cvm_record_t *record = host->record_new(kind);
    for (uint32_t i = 0; record && i < TABLES[kind].count; i++) {
        int failed;
        if (TABLES[kind].columns[i].kind == CVM_FIELD_NUMBER)
            failed = host->set_number(record, i, sqlite3_column_int64(prepared, (int)i));
        else
            failed = host->set_text(record, i, (const char *)sqlite3_column_text(prepared, (int)i));
        if (failed) {
            host->record_free(record);
            record = NULL;
        }
    }
    return record;
}
