/* "Asked again": each line of the rules as a row of a table, and clocks that were set back. */
#include "support/test.h"

#include "record.h"
#include "registration/again.h"

#define NOW INT64_C(1800000000000)
#define S   INT64_C(1000)
#define MIN (60 * S)

static const struct cvm_again_rules DEFAULTS = {20 * S, 10 * MIN, 3};
static const struct cvm_again_rules WINDOW_OFF = {20 * S, 0, 3};
static const struct cvm_again_rules NO_WAIT = {0, 10 * MIN, 3};
static const struct cvm_again_rules NO_RETRY = {20 * S, 10 * MIN, 0};

struct device {
    int32_t is_registered;
    const char *origin, *key;
    int64_t first, last, count; /* issued, before NOW */
    const char *lease;
    int64_t lease_left;
    int32_t has_current;
    int64_t begins,
        ends; /* the current certificate, from NOW; 0 and 0: for a day before and after */
};

#define UNREGISTERED    .is_registered = 0
#define CSR_REVOKED     .is_registered = 1, .origin = CVM_ORIGIN_CSR, .key = "key-1"
#define BY_CSR          CSR_REVOKED, .has_current = 1
#define VALID(b, e)     .begins = (b), .ends = (e)
#define SERVER_REVOKED  .is_registered = 1, .origin = CVM_ORIGIN_SERVER, .key = "key-1"
#define BY_SERVER       SERVER_REVOKED, .has_current = 1
#define ISSUED(f, l, c) .first = (f), .last = (l), .count = (c)

static const struct {
    const char *what;
    struct device device;
    const char *csr;
    const struct cvm_again_rules *rules;
    enum cvm_again expected;
    uint32_t retry_after_s;
} CASES[] = {
    {"not registered", {UNREGISTERED}, NULL, &DEFAULTS, AGAIN_ISSUE, 0},
    {"not registered, CSR", {UNREGISTERED}, "key-1", &DEFAULTS, AGAIN_ISSUE, 0},
    {"after reset: what was issued before does not count",
        {UNREGISTERED, .origin = CVM_ORIGIN_CSR, .key = "key-1", .has_current = 1}, "key-2",
        &DEFAULTS, AGAIN_ISSUE, 0},
    {"after reset, without a CSR",
        {UNREGISTERED, .origin = CVM_ORIGIN_CSR, .key = "key-1", .has_current = 1}, NULL, &DEFAULTS,
        AGAIN_ISSUE, 0},

    {"CSR, same key", {BY_CSR, ISSUED(0, 0, 0)}, "key-1", &DEFAULTS, AGAIN_SAME, 0},
    {"CSR, same key, years later", {BY_CSR, ISSUED(9999 * MIN, 9999 * MIN, 0)}, "key-1", &DEFAULTS,
        AGAIN_SAME, 0},
    {"CSR, same key, window off", {BY_CSR}, "key-1", &WINDOW_OFF, AGAIN_SAME, 0},
    {"CSR, same key, revoked", {CSR_REVOKED}, "key-1", &DEFAULTS, AGAIN_REGISTERED, 0},
    {"CSR, same key, over", {BY_CSR, ISSUED(MIN, MIN, 0), VALID(-MIN, -1)}, "key-1", &DEFAULTS,
        AGAIN_REISSUE, 0},
    {"CSR, same key, over, issued a moment ago", {BY_CSR, ISSUED(5 * S, 5 * S, 0), VALID(-MIN, -1)},
        "key-1", &DEFAULTS, AGAIN_IN_PROGRESS, 15},
    {"CSR, same key, over, window off", {BY_CSR, ISSUED(MIN, MIN, 0), VALID(-MIN, 0)}, "key-1",
        &WINDOW_OFF, AGAIN_REISSUE, 0},
    {"CSR, same key, ends later", {BY_CSR, ISSUED(MIN, MIN, 0), VALID(-MIN, 1)}, "key-1", &DEFAULTS,
        AGAIN_SAME, 0},
    {"CSR, same key, begins in an hour", {BY_CSR, ISSUED(MIN, MIN, 0), VALID(60 * MIN, 99 * MIN)},
        "key-1", &DEFAULTS, AGAIN_SAME, 0},
    {"CSR, same key, begins later than that",
        {BY_CSR, ISSUED(MIN, MIN, 0), VALID(60 * MIN + 1, 99 * MIN)}, "key-1", &DEFAULTS,
        AGAIN_REISSUE, 0},
    {"CSR, another key, over", {BY_CSR, ISSUED(MIN, MIN, 0), VALID(-MIN, -1)}, "key-2", &DEFAULTS,
        AGAIN_OTHER_KEY, 0},
    {"CSR, another key", {BY_CSR}, "key-2", &DEFAULTS, AGAIN_OTHER_KEY, 0},
    {"CSR, another key, no current", {CSR_REVOKED}, "key-2", &DEFAULTS, AGAIN_OTHER_KEY, 0},
    {"CSR, then none", {BY_CSR, ISSUED(MIN, MIN, 0)}, NULL, &DEFAULTS, AGAIN_REGISTERED, 0},

    {"server's key, at once", {BY_SERVER, ISSUED(0, 0, 0)}, NULL, &DEFAULTS, AGAIN_IN_PROGRESS, 20},
    {"server's key, a little later", {BY_SERVER, ISSUED(5 * S, 5 * S, 0)}, NULL, &DEFAULTS,
        AGAIN_IN_PROGRESS, 15},
    {"server's key, 1 ms too soon", {BY_SERVER, ISSUED(20 * S - 1, 20 * S - 1, 0)}, NULL, &DEFAULTS,
        AGAIN_IN_PROGRESS, 1},
    {"server's key, just late enough", {BY_SERVER, ISSUED(20 * S, 20 * S, 0)}, NULL, &DEFAULTS,
        AGAIN_REISSUE, 0},
    {"server's key, at the window's end", {BY_SERVER, ISSUED(10 * MIN, 10 * MIN, 0)}, NULL,
        &DEFAULTS, AGAIN_REISSUE, 0},
    {"server's key, past the window", {BY_SERVER, ISSUED(10 * MIN + 1, 10 * MIN + 1, 0)}, NULL,
        &DEFAULTS, AGAIN_REGISTERED, 0},
    {"server's key, the window counts from the first issue", {BY_SERVER, ISSUED(11 * MIN, MIN, 1)},
        NULL, &DEFAULTS, AGAIN_REGISTERED, 0},
    {"server's key, reissue_after counts from the last", {BY_SERVER, ISSUED(5 * MIN, 10 * S, 1)},
        NULL, &DEFAULTS, AGAIN_IN_PROGRESS, 10},
    {"server's key, twice already", {BY_SERVER, ISSUED(5 * MIN, MIN, 2)}, NULL, &DEFAULTS,
        AGAIN_REISSUE, 0},
    {"server's key, three times already", {BY_SERVER, ISSUED(5 * MIN, MIN, 3)}, NULL, &DEFAULTS,
        AGAIN_REGISTERED, 0},
    {"server's key, no retries", {BY_SERVER, ISSUED(MIN, MIN, 0)}, NULL, &NO_RETRY,
        AGAIN_REGISTERED, 0},
    {"server's key, window off", {BY_SERVER, ISSUED(0, 0, 0)}, NULL, &WINDOW_OFF, AGAIN_REGISTERED,
        0},
    {"server's key, no wait", {BY_SERVER, ISSUED(0, 0, 0)}, NULL, &NO_WAIT, AGAIN_REISSUE, 0},
    {"server's key, revoked certificate, in the window", {SERVER_REVOKED, ISSUED(MIN, MIN, 0)},
        NULL, &DEFAULTS, AGAIN_REISSUE, 0},
    {"server's key, then a CSR", {BY_SERVER, ISSUED(MIN, MIN, 0)}, "key-2", &DEFAULTS,
        AGAIN_OTHER_KEY, 0},
    {"server's key, then a CSR for that very key", {BY_SERVER, ISSUED(MIN, MIN, 0)}, "key-1",
        &DEFAULTS, AGAIN_OTHER_KEY, 0},

    {"another's lease", {UNREGISTERED, .lease = "other", .lease_left = 60 * S}, NULL, &DEFAULTS,
        AGAIN_IN_PROGRESS, 60},
    {"another's lease, its last moment", {UNREGISTERED, .lease = "other", .lease_left = 1}, NULL,
        &DEFAULTS, AGAIN_IN_PROGRESS, 1},
    {"another's lease that ends now", {UNREGISTERED, .lease = "other", .lease_left = 0}, NULL,
        &DEFAULTS, AGAIN_ISSUE, 0},
    {"another's lease that is over", {UNREGISTERED, .lease = "other", .lease_left = -S}, "key-1",
        &DEFAULTS, AGAIN_ISSUE, 0},
    {"one's own lease", {UNREGISTERED, .lease = "me", .lease_left = 60 * S}, NULL, &DEFAULTS,
        AGAIN_ISSUE, 0},
    {"a re-issue under way",
        {BY_SERVER, ISSUED(MIN, MIN, 0), .lease = "other", .lease_left = 30 * S}, NULL, &DEFAULTS,
        AGAIN_IN_PROGRESS, 30},
    {"no owner, a time left behind", {UNREGISTERED, .lease = "", .lease_left = 60 * S}, NULL,
        &DEFAULTS, AGAIN_ISSUE, 0},

    /* The clock was set back: nobody waits for it to catch up; other servers' clocks differ a bit.
     */
    {"issued in the future", {BY_SERVER, ISSUED(-60 * MIN, -60 * MIN, 0)}, NULL, &DEFAULTS,
        AGAIN_REISSUE, 0},
    {"issued a little in the future", {BY_SERVER, ISSUED(-5 * S, -5 * S, 0)}, NULL, &DEFAULTS,
        AGAIN_IN_PROGRESS, 25},
    {"first in the future, last long ago", {BY_SERVER, ISSUED(-60 * MIN, MIN, 1)}, NULL, &DEFAULTS,
        AGAIN_REISSUE, 0},
    {"issued in the future, CSR", {BY_CSR, ISSUED(-60 * MIN, -60 * MIN, 0)}, "key-1", &DEFAULTS,
        AGAIN_SAME, 0},
    {"issued in the future, three times", {BY_SERVER, ISSUED(-60 * MIN, -60 * MIN, 3)}, NULL,
        &DEFAULTS, AGAIN_REGISTERED, 0},
    {"a lease of another clock, minutes ahead",
        {UNREGISTERED, .lease = "other", .lease_left = 3 * MIN}, NULL, &DEFAULTS, AGAIN_IN_PROGRESS,
        180},
    {"the longest lease", {UNREGISTERED, .lease = "other", .lease_left = 10 * CVM_LEASE_MS}, NULL,
        &DEFAULTS, AGAIN_IN_PROGRESS, 600},
    {"a longer one than that",
        {UNREGISTERED, .lease = "other", .lease_left = 10 * CVM_LEASE_MS + 1}, NULL, &DEFAULTS,
        AGAIN_ISSUE, 0},
    {"a lease of next year holds nobody up",
        {UNREGISTERED, .lease = "other", .lease_left = 525600 * MIN}, NULL, &DEFAULTS, AGAIN_ISSUE,
        0},
};

static cvm_record_t *record_of(const struct device *device)
{
    cvm_record_t *record = cvm_record_new(CVM_RECORD_DEVICE);
    assert_non_null(record);
    (void)cvm_record_set_number(record, CVM_D_IS_REGISTERED, device->is_registered);
    (void)cvm_record_set_text(record, CVM_D_KEY_ORIGIN, device->origin);
    (void)cvm_record_set_text(record, CVM_D_PUBLIC_KEY_SHA256, device->key);
    (void)cvm_record_set_number(record, CVM_D_FIRST_ISSUED_AT, NOW - device->first);
    (void)cvm_record_set_number(record, CVM_D_LAST_ISSUED_AT, NOW - device->last);
    (void)cvm_record_set_number(record, CVM_D_REISSUE_COUNT, device->count);
    (void)cvm_record_set_text(record, CVM_D_LEASE_OWNER, device->lease);
    (void)cvm_record_set_number(record, CVM_D_LEASE_UNTIL, NOW + device->lease_left);
    return record;
}

static void set_validity(cvm_record_t *current, const struct device *device)
{
    int64_t begins = device->begins, ends = device->ends;
    if (!begins && !ends) {
        begins = -1440 * MIN;
        ends = 1440 * MIN;
    }
    (void)cvm_record_set_number(current, CVM_C_NOT_BEFORE, NOW + begins);
    (void)cvm_record_set_number(current, CVM_C_NOT_AFTER, NOW + ends);
}

static void each_line_of_the_rules_holds(void **state)
{
    (void)state;
    cvm_record_t *current = cvm_record_new(CVM_RECORD_CERTIFICATE);
    assert_non_null(current);
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        cvm_record_t *device = record_of(&CASES[i].device);
        uint32_t retry_after_s = 0;
        set_validity(current, &CASES[i].device);
        enum cvm_again got = cvm_again(device, CASES[i].device.has_current ? current : NULL,
            CASES[i].csr, "me", CASES[i].rules, NOW, &retry_after_s);
        if (got != CASES[i].expected || retry_after_s != CASES[i].retry_after_s)
            fail_msg("%s: answered %d, retry after %u", CASES[i].what, (int)got, retry_after_s);
        cvm_record_free(device);
    }
    cvm_record_free(current);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_of_the_rules_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
