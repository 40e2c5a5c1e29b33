/* SQL beside the instances. */
#include "support/store_file.h"

#include <sqlite3.h>

#include "support/harness.h"

static sqlite3 *database;

static void store_file_close(void)
{
    (void)sqlite3_close(database);
    database = NULL;
}

static sqlite3_stmt *prepare_plain(const char *text)
{
    sqlite3_stmt *prepared = NULL;
    if (!database) {
        assert_int_equal(
            sqlite3_open_v2(harness_store(), &database, SQLITE_OPEN_READWRITE, NULL), 0);
        (void)sqlite3_busy_timeout(database, 10000);
        harness_at_end(store_file_close);
    }
    if (sqlite3_prepare_v2(database, text, -1, &prepared, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(database));
    return prepared;
}

static sqlite3_stmt *prepare(const char *format, va_list arguments)
{
    char text[1024];
    (void)vsnprintf(text, sizeof text, format, arguments);
    return prepare_plain(text);
}

void sql(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    sqlite3_stmt *prepared = prepare(format, arguments);
    va_end(arguments);
    int rc = sqlite3_step(prepared);
    (void)sqlite3_finalize(prepared);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        fail_msg("%s", sqlite3_errmsg(database));
}

void sql_text(const char *statement, const char *text)
{
    sqlite3_stmt *prepared = prepare_plain(statement);
    (void)sqlite3_bind_text(prepared, 1, text, -1, SQLITE_STATIC);
    int rc = sqlite3_step(prepared);
    (void)sqlite3_finalize(prepared);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        fail_msg("%s", sqlite3_errmsg(database));
}

int64_t sql_number(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    sqlite3_stmt *prepared = prepare(format, arguments);
    va_end(arguments);
    int64_t number = sqlite3_step(prepared) == SQLITE_ROW ? sqlite3_column_int64(prepared, 0) : 0;
    (void)sqlite3_finalize(prepared);
    return number;
}

int32_t file_is_recorded(const char *certificate_id)
{
    return sql_number("SELECT (SELECT count(*) FROM devices WHERE certificate_id = '%s'"
                      " OR lease_certificate_id = '%s') + (SELECT count(*) FROM certificates"
                      " WHERE certificate_id = '%s' AND state = 'retiring')",
               certificate_id, certificate_id, certificate_id) != 0;
}
