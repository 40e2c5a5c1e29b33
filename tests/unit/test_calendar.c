/* The calendar, against the C library's where its time_t is wide; and OpenSSL's times. */
#include "support/test.h"

#include <time.h>

#include <openssl/asn1.h>

#include "base/clock.h"
#include "base/crypto.h"

#define DAY_MS (INT64_C(86400) * 1000)

static void expect_same(int64_t ms)
{
    struct tm ours, theirs;
    time_t seconds = (time_t)(ms / 1000);
    assert_non_null(gmtime_r(&seconds, &theirs));
    cvm_utc(ms, &ours);
    if (ours.tm_year != theirs.tm_year || ours.tm_mon != theirs.tm_mon ||
        ours.tm_mday != theirs.tm_mday || ours.tm_hour != theirs.tm_hour ||
        ours.tm_min != theirs.tm_min || ours.tm_sec != theirs.tm_sec ||
        ours.tm_wday != theirs.tm_wday || ours.tm_yday != theirs.tm_yday)
        fail_msg("%lld", (long long)ms);
    assert_int_equal(cvm_utc_ms(&ours), ms / 1000 * 1000);
}

/* Each day from 1970 to 9999, at another time of the day. */
static void each_day_has_its_parts(void **state)
{
    (void)state;
    assert_int_equal(sizeof(time_t), 8);
    for (int64_t day = 0; day * DAY_MS < CVM_UTC_END_MS; day++)
        expect_same(day * DAY_MS + day * 7919 % DAY_MS);
    expect_same(CVM_UTC_END_MS - 1);
}

static void what_is_outside_is_the_beginning(void **state)
{
    char text[CVM_RFC3339_SIZE];
    (void)state;
    assert_string_equal(cvm_rfc3339(-1, text), "1970-01-01T00:00:00Z");
    assert_string_equal(cvm_rfc3339(INT64_MIN, text), "1970-01-01T00:00:00Z");
    assert_string_equal(cvm_rfc3339(CVM_UTC_END_MS, text), "1970-01-01T00:00:00Z");
    assert_string_equal(cvm_rfc3339(CVM_UTC_END_MS - 1, text), "9999-12-31T23:59:59Z");
    assert_string_equal(cvm_print_utc(0, "%Y-%m-%d", text, 4), "");
}

/* A certificate says years before 2050 with two digits, later ones with four (RFC 5280 §4.1.2.5).
 */
static void asn1_times_have_rfc_5280s_form(void **state)
{
    static const struct {
        int64_t ms;
        int type;
        const char *text;
    } TIMES[] = {
        {0, V_ASN1_UTCTIME, "700101000000Z"},
        {INT64_C(2147483647000), V_ASN1_UTCTIME, "380119031407Z"},
        {INT64_C(2147483648000), V_ASN1_UTCTIME, "380119031408Z"},
        {INT64_C(2524607999000), V_ASN1_UTCTIME, "491231235959Z"},
        {INT64_C(2524608000000), V_ASN1_GENERALIZEDTIME, "20500101000000Z"},
        {CVM_UTC_END_MS - 1000, V_ASN1_GENERALIZEDTIME, "99991231235959Z"},
    };
    (void)state;
    ASN1_TIME *time = ASN1_TIME_new();
    for (size_t i = 0; i < LENGTH(TIMES); i++) {
        assert_int_equal(cvm_asn1_time_set(time, TIMES[i].ms), 0);
        assert_int_equal(ASN1_STRING_type(time), TIMES[i].type);
        assert_string_equal((const char *)ASN1_STRING_get0_data(time), TIMES[i].text);
        assert_int_equal(cvm_asn1_time_ms(time), TIMES[i].ms);
    }
    assert_int_equal(cvm_asn1_time_set(time, -1), -1);
    assert_int_equal(cvm_asn1_time_set(time, CVM_UTC_END_MS), -1);
    ASN1_TIME_free(time);
}

static void a_time_is_read_by_its_form(void **state)
{
    static const char DATE[] = "???, DD bbb YYYY hh:mm:ss", TIME[] = "YYYY-MM-DDThh:mm:ss";
    (void)state;
    assert_int_equal(cvm_read_utc("Sun, 06 Nov 1994 08:49:37 GMT", DATE), INT64_C(784111777000));
    assert_int_equal(cvm_read_utc("1994-11-06T08:49:37.5Z", TIME), INT64_C(784111777000));
    static const char *const WRONG[] = {"", "Sun, 06 Nov 1994 08:49:3", "Sun, 06 Nox 1994 08:49:37",
        "Sun, 06 No", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37"};
    for (size_t i = 0; i < LENGTH(WRONG); i++)
        assert_int_equal(cvm_read_utc(WRONG[i], DATE), -1);
    assert_int_equal(cvm_read_utc("1994-13-06T08:49:37", TIME), -1);
    assert_int_equal(cvm_read_utc("1994-00-06T08:49:37", TIME), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_is_read_by_its_form),
        cmocka_unit_test(each_day_has_its_parts),
        cmocka_unit_test(what_is_outside_is_the_beginning),
        cmocka_unit_test(asn1_times_have_rfc_5280s_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
