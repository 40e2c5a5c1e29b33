/* The import's parts, one by one: lines, CSV, JSON lines, rules, sorting, and tries again. They are
 * the command's, not the library's, so they are included as they stand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cvm/cvm.h"
#include "error.h"

static cvm_error_t *fake_import(
    cvm_t *cvm, cvm_batch_t *batch, int32_t replace_tokens, cvm_batch_cb callback, void *user_data);
static void fake_sleep_us(uint32_t us);
static cvm_error_t *fake_check_uid(const cvm_t *cvm, const char *uid);
static int32_t fake_row(const cvm_batch_t *batch, uint32_t i);
#define cvm_import    fake_import
#define cvm_check_uid fake_check_uid
#define cvm_batch_row fake_row
#define cvm_sleep_us  fake_sleep_us

/* NOLINTBEGIN(bugprone-suspicious-include) */
#include "cli/import_check.c"
#include "cli/import_csv.c"
#include "cli/import_json.c"
#include "cli/import_lines.c"
#include "cli/import_runs.c"
#include "cli/import_shared.c"
#include "cli/import_sort.c"
#include "cli/import_spreadsheet.c"
#include "cli/import_write.c"
#include "cli/interrupt.c"
#include "cli/progress.c"
/* NOLINTEND(bugprone-suspicious-include) */

#define TOKEN "0123456789abcdef"

/* --- What the command would bring --------------------------------------------------------------
 */

static char said[4096];

int32_t cli_fail(int32_t code, const char *format, ...)
{
    va_list arguments;
    size_t used = strlen(said);
    va_start(arguments, format);
    (void)vsnprintf(said + used, sizeof said - used, format, arguments);
    va_end(arguments);
    return code;
}

int32_t cli_error(const char *subject, cvm_error_t *error)
{
    (void)subject;
    cvm_error_free(error);
    return EX_SOFTWARE;
}

int32_t cli_code_of(const cvm_error_t *error)
{
    (void)error;
    return EX_UNAVAILABLE;
}

void cli_run_until(cvm_t *cvm, const int32_t *is_done)
{
    (void)cvm;
    assert_true(*is_done);
}

int32_t cli_run_for(cvm_t *cvm, const int32_t *is_done, int64_t ms)
{
    (void)ms;
    cli_run_until(cvm, is_done);
    return *is_done;
}

static int64_t passed_ms;

int64_t cli_now_ms(void)
{
    return passed_ms;
}

static cvm_error_t *fake_check_uid(const cvm_t *cvm, const char *uid)
{
    (void)cvm;
    return strcmp(uid, "bad uid") == 0 ? cvm_error_new(REASON_invalid_request, NULL) : NULL;
}

/* --- Lines -------------------------------------------------------------------------------------
 */

/* Everything that a text's lines are, in pieces of a size: "number:text|" or "number!|". */
static void lines_of(const char *text, size_t length, size_t piece, char *found)
{
    struct import_lines lines = {0};
    struct import_line line;
    *found = 0;
    for (size_t at = 0; at < length; at += piece) {
        char block[256];
        size_t n = length - at < piece ? length - at : piece;
        memcpy(block, text + at, n);
        import_lines_feed(&lines, block, n);
        while (import_lines_next(&lines, &line))
            found +=
                sprintf(found, line.complaint ? "%d!|" : "%d:%s|", (int)line.number, line.text);
    }
    if (import_lines_last(&lines, &line))
        (void)sprintf(found, line.complaint ? "%d!|" : "%d:%s|", (int)line.number, line.text);
}

static void expect_lines(const char *text, size_t length, const char *expected)
{
    char found[512];
    for (size_t piece = 1; piece <= length; piece++) {
        lines_of(text, length, piece, found);
        assert_string_equal(found, expected);
    }
}

static void lines_are_cut(void **state)
{
    (void)state;
#define LINES(text, expected) expect_lines((text), sizeof(text) - 1, (expected))
    LINES("a\nb\n", "1:a|2:b|");
    LINES("a\r\nb", "1:a|2:b|");
    LINES("\xef\xbb\xbf"
          "a\n\n\r\nb\r",
        "1:a|4:b|");
    LINES("a\n\xef\xbb\xbf"
          "b",
        "1:a|2:\xef\xbb\xbf"
        "b|");
    LINES("a\0b\nc", "1!|2:c|");
    LINES("\n\n", "");
#undef LINES
}

static void long_lines_are_refused(void **state)
{
    (void)state;
    struct import_line line = {0};
    for (size_t length = IMPORT_LONGEST_LINE - 1; length <= IMPORT_LONGEST_LINE + 2; length++) {
        char text[IMPORT_LONGEST_LINE + 8];
        struct import_lines lines = {0};
        memset(text, 'x', sizeof text);
        text[length] = text[length + 2] = '\n';
        text[length + 1] = 'b';
        import_lines_feed(&lines, text, length + 3);
        assert_true(import_lines_next(&lines, &line));
        assert_int_equal(line.complaint != NULL, length > IMPORT_LONGEST_LINE);
        assert_true(import_lines_next(&lines, &line));
        assert_string_equal(line.text, "b");
    }
}

/* --- CSV ---------------------------------------------------------------------------------------
 */

static const char *header_of(struct import_csv *csv, const char *text, int32_t computed)
{
    static char copy[256];
    (void)snprintf(copy, sizeof copy, "%s", text);
    return import_csv_header(csv, copy, computed);
}

static void headers_are_checked(void **state)
{
    (void)state;
    struct import_csv csv = {0};
    assert_null(header_of(&csv, "device_uid,device_token", 0));
    assert_null(header_of(&csv, "is_enabled,\"device_token\",device_uid", 0));
    assert_null(header_of(&csv, "device_uid", 1));
    assert_non_null(header_of(&csv, "device_uid", 0));
    assert_non_null(header_of(&csv, "device_uid,device_token", 1));
    assert_non_null(header_of(&csv, "device_uid,device_token,device_uid", 0));
    assert_null(header_of(&csv, "device_uid,device_token,", 0));
    assert_non_null(strstr(header_of(&csv, "device_uid,device_token,colour", 0), "\"colour\""));
    assert_non_null(strstr(header_of(&csv, "device_uid,device_token,a\033[2J", 0), "place 3"));
    /* Without a header, what is there may be a token. */
    assert_null(strstr(header_of(&csv, "DEVICE1," TOKEN, 0), TOKEN));
    assert_null(strstr(header_of(&csv, TOKEN ",DEVICE1", 0), TOKEN));
#define FORTY "a234567890b234567890c234567890d234567890"
    assert_non_null(strstr(header_of(&csv, FORTY ",device_uid", 0), "\"" FORTY "\""));
    assert_non_null(strstr(header_of(&csv, FORTY "1,device_uid", 0), "place 1"));
}

static const char *csv_of(const char *text, struct import_fields *fields)
{
    static char copy[256];
    static struct import_csv csv;
    csv = (struct import_csv){0};
    assert_null(header_of(&csv, "device_uid,device_token", 0));
    (void)snprintf(copy, sizeof copy, "%s", text);
    return import_csv_line(&csv, copy, fields);
}

static void csv_is_read(void **state)
{
    (void)state;
    struct import_fields fields;
    assert_null(csv_of("a,b", &fields));
    assert_string_equal(fields.uid, "a");
    assert_string_equal(fields.token, "b");
    assert_null(fields.is_enabled);
    assert_null(csv_of("\"a\",\"b \"\",c\"", &fields));
    assert_string_equal(fields.token, "b \",c");
    assert_null(csv_of(" a , \"b\" ,,", &fields));
    assert_string_equal(fields.uid, "a");
    assert_string_equal(fields.token, "b");
    assert_null(csv_of(",\"\"", &fields)); /* nothing in it */
    assert_null(fields.uid);
    assert_null(csv_of("a,\"\"", &fields));
    assert_string_equal(fields.token, "");
    const char *const bad[] = {"a", "a,b,c", "a,\"b", "a,\"b\"\"", "a,\"b\"c", "a,b\"", "\""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_non_null(csv_of(bad[i], &fields));
}

static void a_header_says_what_separates(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        char separator;
    } HEADERS[] = {{"device_uid;device_token", ';'}, {"device_uid\tdevice_token", '\t'},
        {"device_uid|device_token|is_enabled", '|'}, {"device_token;device_uid", ';'},
        {"\"Device UID\" ; \"Device-Token\"", ';'}, {"DeviceUid,device token,IS ENABLED", ','},
        {"is_enabled;DEVICE_TOKEN;Device_Uid", ';'}, {"\"device_token\"|\"device_uid\"", '|'},
        {" device_token; device_uid", ';'}, {"device_uid,device_token,,,", ','}};
    for (size_t i = 0; i < sizeof HEADERS / sizeof HEADERS[0]; i++) {
        struct import_csv csv = {0};
        const char *complaint = header_of(&csv, HEADERS[i].header, 0);
        if (complaint)
            fail_msg("%s: %s", HEADERS[i].header, complaint);
        assert_int_equal(csv.separator, HEADERS[i].separator);
    }
}

static void what_a_spreadsheet_has_spoiled_is_seen(void **state)
{
    (void)state;
    const char *const spoiled[] = {"3.52E+14", "3,52E+14", "1E+05", "3.5e+14", "1.2E-05", "#N/A",
        "#NAME?", "########", "Err:508", "5-Mar", "05-Mar-2026", "Mar-26", "5/3/2026", "05.03.26"};
    const char *const fine[] = {"12E5", "1E-05", "352099001761481", "2026-03-05", "Mar", "Mary-5",
        "5-March", "1.5", "E+14", "0", "", "AB-Mar-26", "123-Mar", "1/2", "Dec-000001", "Oct-123",
        "Mar-1", "1.2.3.4", "4E+", "0123456789abcdef0123456789abcdef"};
    for (size_t i = 0; i < sizeof spoiled / sizeof spoiled[0]; i++)
        if (!import_spreadsheet_harm(spoiled[i]))
            fail_msg("%s", spoiled[i]);
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
        if (import_spreadsheet_harm(fine[i]))
            fail_msg("%s", fine[i]);
}

static int32_t are_cut(const char *const *numbers)
{
    struct import_long_numbers column = {0};
    for (; *numbers; numbers++)
        import_long_numbers_add(&column, *numbers);
    return import_long_numbers_are_cut(&column);
}

static void long_numbers_that_all_end_in_zeros_were_cut(void **state)
{
    (void)state;
    const char *const cut[] = {"8944538532046590000", "8944538532046590000", NULL};
    const char *const three[] = {"1234567890123450", "1234567890123460", "1234567890123470", NULL};
    const char *const two[] = {"1234567890123450", "1234567890123460", NULL};
    const char *const one_is_whole[] = {"8944538532046590000", "8944538532046590104", NULL};
    const char *const short_ones[] = {"352099001761000", "100000000000000", "1000", NULL};
    const char *const no_numbers[] = {"A8944538532046590000", "8944538532046590000F", NULL};
    assert_true(are_cut(cut));
    assert_true(are_cut(three));
    assert_false(are_cut(two)); /* one in a hundred ends so by chance */
    assert_false(are_cut(one_is_whole));
    assert_false(are_cut(short_ones));
    assert_false(are_cut(no_numbers));
}

/* --- JSON --------------------------------------------------------------------------------------
 */

static void expect_json(const char *text, const char *uid, const char *token, const char *enabled)
{
    struct import_fields fields;
    struct cJSON *object;
    const char *complaint = import_json_line(text, strlen(text), &fields, &object);
    if (!uid) {
        assert_non_null(complaint);
    } else {
        assert_null(complaint);
        assert_string_equal(fields.uid, uid);
        assert_string_equal(fields.token, token);
        assert_int_equal(!enabled, !fields.is_enabled);
        if (enabled)
            assert_string_equal(fields.is_enabled, enabled);
    }
    import_json_forget(object);
}

static void json_is_read_strictly(void **state)
{
    (void)state;
    expect_json("{\"device_uid\": \"a\", \"device_token\": \"b\"}", "a", "b", NULL);
    expect_json(
        "\t{\"device_token\":\"b\",\"is_enabled\":false,\"device_uid\":\"a\"} ", "a", "b", "false");
    expect_json("{\"device_uid\":\"a\",\"device_token\":\"\\\\u0000\",\"is_enabled\":1}", "a",
        "\\u0000", "1");
    const char *const bad[] = {
        "",
        "\\",
        "[]",
        "{\"device_uid\":\"a\\u0000b\",\"device_token\":\"b\"}",
        "{\"device_uid\":\"a\",\"device_token\":\"b\"} x",
        "{\"device_uid\":\"a\",\"device_token\":\"b\"}{}",
        "{\"device_uid\":\"a\",\"device_uid\":\"a\",\"device_token\":\"b\"}",
        "{\"device_uid\":\"a\",\"Device_token\":\"b\"}",
        "{\"device_uid\":1,\"device_token\":\"b\"}",
        "{\"device_uid\":\"a\",\"device_token\":[\"b\"]}",
        "{\"device_uid\":\"a\",\"device_token\":\"b\",\"is_enabled\":2}",
        "{\"device_uid\":\"a\",\"device_token\":\"b\",\"is_enabled\":null}",
        "{\"device_uid\":\"a\",\x01\"device_token\":\"b\"}",
        "{\"device_uid\":\"a\",\"device_token\":\"b\",\"device_toke\\u006e\":\"b\"}",
        "{\"device_uid\":\"a\",\"device_token\":\"b\\ud800\"}",
        "{\"device_uid\":\"a\",\"device_token\":\"b\xff\"}",
        "{\"device_uid\":\"a\",\"device_token\":\"b\xc0\xaf\"}",
        "{\"device_uid\":\"a\",\"device_token\":\"b\",}",
        "{\"device_uid\":\"a\",\"device_token\":\"b\",\"is_enabled\":01}",
        "{\"device_uid\":\"a\",\"device_token\":\"b\",\"is_enabled\":TRUE}",
        "\f{\"device_uid\":\"a\",\"device_token\":\"b\"}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_json(bad[i], NULL, NULL, NULL);
}

/* --- Rules -------------------------------------------------------------------------------------
 */

static const char *check_fields(
    struct import_check *check, const char *token, const char *enabled, struct import_row *row)
{
    const struct import_fields fields = {"D1", token, enabled};
    return import_check_row(check, &fields, row);
}

static void tokens_and_flags_are_checked(void **state)
{
    (void)state;
    struct import_check check = {0};
    struct import_row row = {0}, same = {0};
    char longest[258];
    assert_int_equal(import_check_begin(&check), 0);
    memset(longest, 'x', sizeof longest);
    longest[257] = 0;
    assert_non_null(check_fields(&check, longest, NULL, &row));
    longest[256] = 0;
    assert_null(check_fields(&check, longest, NULL, &row));
    assert_null(check_fields(&check, TOKEN, NULL, &row));
    assert_int_equal(row.flag, IMPORT_ENABLED);
    assert_null(check_fields(&check,
        "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f", "false", &same));
    assert_memory_equal(row.hash, same.hash, sizeof row.hash);
    assert_int_equal(same.flag, IMPORT_DISABLED);
    const char *const bad[] = {NULL, "", "0123456789abcde", TOKEN ":", TOKEN " ", TOKEN "\x7f",
        TOKEN "\xc3\xa4",
        "sha256:", "sha256:9F9F5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_non_null(check_fields(&check, bad[i], NULL, &row));
    assert_non_null(check_fields(&check, TOKEN, "yes", &row));
    assert_null(check_fields(&check, TOKEN, "", &row));
    assert_int_equal(row.flag, IMPORT_UNSAID);
    assert_null(check_fields(&check, TOKEN, "FALSE", &row));
    assert_int_equal(row.flag, IMPORT_DISABLED);
    assert_null(check_fields(&check, TOKEN, "True", &row));
    assert_int_equal(row.flag, IMPORT_ENABLED);
    check.allows_weak_tokens = 1;
    assert_null(check_fields(&check, "x", "0", &row));
    assert_non_null(check_fields(&check, "", "0", &row));
    import_check_end(&check);
}

static void tokens_are_computed(void **state)
{
    (void)state;
    struct import_check check = {.secret = "YOUR_SECRET_SALT", .secret_length = 16}, plain = {0};
    struct import_row row = {0}, same = {0};
    const struct import_fields
        fields = {"DEVICE001", NULL, NULL},
        both = {"DEVICE001", TOKEN, NULL},
        token = {
            "DEVICE001", "ecab892722df5937d055dd496cdff41ac6bdece2cfc18b31e896960e52df5787", NULL};
    assert_int_equal(import_check_begin(&check) | import_check_begin(&plain), 0);
    assert_null(import_check_row(&check, &fields, &row));
    assert_null(import_check_row(&plain, &token, &same));
    assert_memory_equal(row.hash, same.hash, sizeof row.hash);
    assert_non_null(import_check_row(&check, &both, &row));
    import_check_end(&check);
    import_check_end(&plain);
}

/* --- Sorting -----------------------------------------------------------------------------------
 */

static uint32_t scattered(uint32_t i, uint32_t count)
{
    return (uint32_t)((uint64_t)i * 7919 % count);
}

static void add_row(struct import_sort *sort, uint32_t number, uint64_t line)
{
    char uid[IMPORT_LONGEST_UID + 1];
    struct import_row row = {.uid = uid, .line = line, .flag = (enum import_flag)(number & 1)};
    size_t more = number % 117; /* lengths differ, up to the longest */
    size_t length = (size_t)snprintf(uid, sizeof uid, "DEV-%08u", number);
    memset(uid + length, 'x', more);
    uid[length + more] = 0;
    memcpy(row.hash, &number, sizeof number);
    assert_int_equal(import_sort_add(sort, &row), 0);
}

static void expect_sorted(struct import_sort *sort, uint32_t count, uint32_t duplicates)
{
    struct import_row row;
    uint32_t seen = 0, twice = 0;
    assert_int_equal(import_sort_rewind(sort), 0);
    while (import_sort_next(sort, &row) > 0) {
        uint32_t number = seen - !!row.duplicate_of, kept;
        memcpy(&kept, row.hash, sizeof kept);
        assert_int_equal(kept, number);
        assert_int_equal(strtoul(row.uid + 4, NULL, 10), number);
        assert_int_equal(row.flag, number & 1);
        assert_true(row.duplicate_of < row.line);
        twice += row.duplicate_of != 0;
        seen += row.duplicate_of == 0;
    }
    assert_int_equal(seen, count);
    assert_int_equal(twice, duplicates);
}

static void sort_rows(uint32_t count)
{
    struct import_sort *sort = import_sort_new((size_t)64 * 1024, "/tmp");
    assert_non_null(sort);
    if (!sort)
        return;
    for (uint32_t i = 0; i < count; i++)
        add_row(sort, scattered(i, count), i + 2);
    for (uint32_t i = 0; i < count; i += 10)
        add_row(sort, i, count + i + 2);
    for (int pass = 0; pass < 2; pass++)
        expect_sorted(sort, count, (count + 9) / 10);
    import_sort_free(sort);
}

static void rows_are_sorted(void **state)
{
    (void)state;
    const uint32_t counts[] = {0, 1, 2, 100, 400, 2000, 20000};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        sort_rows(counts[i]);
}

static void no_room_is_an_error(void **state)
{
    (void)state;
    const struct import_row row = {.uid = "DEVICE1"};
    struct import_sort *sort = import_sort_new((size_t)64 * 1024, "/nowhere");
    uint32_t added = 0;
    assert_non_null(sort);
    while (sort && import_sort_add(sort, &row) == 0)
        assert_true(added++ < 2000);
    assert_int_equal(errno, ENOENT);
    import_sort_free(sort);
}

/* The longest uid is taken, and one that is longer is refused and not written down. */
static void a_uid_has_a_longest_length(void **state)
{
    char uid[IMPORT_LONGEST_UID + 2];
    struct import_row row = {.uid = uid};
    struct import_sort *sort = import_sort_new((size_t)64 * 1024, "/tmp");
    (void)state;
    assert_non_null(sort);
    memset(uid, 'x', sizeof uid);
    uid[IMPORT_LONGEST_UID + 1] = 0;
    assert_int_equal(import_sort_add(sort, &row), -1);
    assert_int_equal(errno, EINVAL);
    uid[IMPORT_LONGEST_UID] = 0;
    assert_int_equal(import_sort_add(sort, &row), 0);
    assert_int_equal(import_sort_rewind(sort), 0);
    assert_int_equal(import_sort_next(sort, &row), 1);
    assert_int_equal(strlen(row.uid), IMPORT_LONGEST_UID);
    assert_int_equal(import_sort_next(sort, &row), 0);
    import_sort_free(sort);
}

/* --- Writing -----------------------------------------------------------------------------------
 */

static enum cvm_reason failure; /* how fake_import fails */
static uint32_t failures;       /* and how often before it works */
static uint32_t chunks, slept_ms;
static int64_t try_takes_ms;

static int32_t fake_row(const cvm_batch_t *batch, uint32_t i)
{
    return cvm_batch_uid(batch, i) && i == 0 ? CVM_ROW_CONFLICT : CVM_ROW_INSERTED;
}

static void fake_sleep_us(uint32_t us)
{
    slept_ms += us / 1000;
}

/* Fails by turns in the call and in the callback. */
static cvm_error_t *fake_import(
    cvm_t *cvm, cvm_batch_t *batch, int32_t replace_tokens, cvm_batch_cb callback, void *user_data)
{
    (void)cvm;
    assert_int_equal(replace_tokens, 0);
    assert_true(cvm_batch_count(batch) > 0);
    cvm_error_t *error = failures ? cvm_error_new(failure, NULL) : NULL;
    passed_ms += try_takes_ms;
    chunks += !error;
    if (failures && failures-- % 2)
        return error;
    callback(user_data, error, batch);
    cvm_error_free(error);
    return NULL;
}

/* Writes 5,000 rows, 100 of them twice, with a store that fails at first. */
static int32_t write_rows(enum cvm_reason reason, uint32_t times, struct import_output *output)
{
    struct progress progress = {0};
    *output = (struct import_output){
        .sort = import_sort_new((size_t)1024 * 1024, "/tmp"),
        .progress = &progress,
        .expected = 5000,
        .conflicts = {.progress = &progress, .what = "conflicts", .most = 2},
    };
    assert_non_null(output->sort);
    if (!output->sort)
        return -1;
    for (uint32_t i = 0; i < 5100; i++)
        add_row(output->sort, i % 5000, i + 1);
    failure = reason;
    failures = times;
    chunks = slept_ms = 0;
    *said = 0;
    int32_t code = import_write(output);
    import_sort_free(output->sort);
    return code;
}

static void rows_are_written_in_chunks(void **state)
{
    (void)state;
    struct import_output output;
    assert_int_equal(write_rows(REASON_ok, 0, &output), 0);
    assert_int_equal(chunks, 3);
    assert_int_equal(slept_ms, 6);
    assert_int_equal(output.written, 5000);
    assert_int_equal(output.became[CVM_ROW_INSERTED], 4997);
    assert_int_equal(output.became[CVM_ROW_CONFLICT], 3);
    assert_non_null(strstr(said, "DEV-00000000"));
    assert_non_null(strstr(said, "1 more conflicts"));
}

static void a_busy_store_is_tried_again(void **state)
{
    (void)state;
    struct import_output output;
    assert_int_equal(write_rows(REASON_store_unavailable, 3, &output), 0);
    assert_int_equal(output.written, 5000);
    assert_int_equal(slept_ms, 100 + 200 + 400 + 6);
    assert_int_equal(write_rows(REASON_overloaded, 1000, &output), EX_TEMPFAIL);
    assert_int_equal(output.written, 0);
    assert_int_equal(failures, 1000 - TRIES);
    assert_non_null(strstr(said, "0 of 5000 rows are written"));
}

static void a_store_that_stays_busy_is_given_up(void **state)
{
    (void)state;
    struct import_output output;
    try_takes_ms = 10000;
    assert_int_equal(write_rows(REASON_store_unavailable, 1000, &output), EX_TEMPFAIL);
    try_takes_ms = 0;
    assert_int_equal(failures, 1000 - 3);
    assert_non_null(strstr(said, "run the same import again"));
}

static void other_errors_end_it(void **state)
{
    (void)state;
    struct import_output output;
    assert_int_equal(write_rows(REASON_configuration, 1, &output), EX_UNAVAILABLE);
    assert_int_equal(chunks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_cut),
        cmocka_unit_test(long_lines_are_refused),
        cmocka_unit_test(headers_are_checked),
        cmocka_unit_test(csv_is_read),
        cmocka_unit_test(a_header_says_what_separates),
        cmocka_unit_test(what_a_spreadsheet_has_spoiled_is_seen),
        cmocka_unit_test(long_numbers_that_all_end_in_zeros_were_cut),
        cmocka_unit_test(json_is_read_strictly),
        cmocka_unit_test(tokens_and_flags_are_checked),
        cmocka_unit_test(tokens_are_computed),
        cmocka_unit_test(rows_are_sorted),
        cmocka_unit_test(no_room_is_an_error),
        cmocka_unit_test(a_uid_has_a_longest_length),
        cmocka_unit_test(rows_are_written_in_chunks),
        cmocka_unit_test(a_busy_store_is_tried_again),
        cmocka_unit_test(a_store_that_stays_busy_is_given_up),
        cmocka_unit_test(other_errors_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
