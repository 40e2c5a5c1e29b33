/* Scans: what belongs to each kind, in any order, by pages of any size, while rows change. */
#include <stdio.h>

#include "check.h"

/* How often each record was answered, by its id's place in a list. */
struct seen {
    const char *const *ids;
    uint32_t count, times[64], others;
};

static void see(void *argument, const cvm_record_t *record)
{
    struct seen *seen = argument;
    for (uint32_t i = 0; i < seen->count; i++)
        if (strcmp(records_text(record, 0), seen->ids[i]) == 0) {
            seen->times[i]++;
            return;
        }
    seen->others++;
}

/* The scan answers those, each once, and no other, by pages of any size. */
static void expect_scan(
    struct store *store, cvm_scan_t what, int64_t before_ms, const char *const *ids, uint32_t count)
{
    static const uint32_t PAGES[] = {1, 2, 3, 1000};
    for (size_t page = 0; page < LENGTH(PAGES); page++) {
        struct seen seen = {.ids = ids, .count = count};
        (void)scan_all(store, what, before_ms, PAGES[page], see, &seen);
        for (uint32_t i = 0; i < count; i++)
            if (seen.times[i] != 1)
                check_fail(__FILE__, __LINE__, "scan %d by %u answers %s %u times", what,
                    PAGES[page], ids[i], seen.times[i]);
        if (seen.others)
            check_fail(__FILE__, __LINE__, "scan %d answers %u that don't belong to it", what,
                seen.others);
    }
}

#define EXPECT_SCAN(store, what, before_ms, ...)                                                   \
    do {                                                                                           \
        static const char *const IDS[] = {__VA_ARGS__};                                            \
        expect_scan(store, what, before_ms, IDS, LENGTH(IDS));                                     \
    } while (0)

static cvm_record_t *retiring(const char *id, const char *uid, int64_t revoke_after_ms)
{
    return with_number(certificate(id, uid, "retiring"), CVM_C_REVOKE_AFTER, revoke_after_ms);
}

static void an_empty_store_answers_nothing(void)
{
    struct store *store = store_open();
    for (cvm_scan_t what = CVM_SCAN_DEVICES; what < CVM_SCAN_META; what++)
        EXPECT_NUMBER(scan_all(store, what, NOW, 1, NULL, NULL), 0);
    (void)scan_all(store, CVM_SCAN_META, 0, 1, NULL, NULL); /* it may have values of its own */
    store_end(store);
}

static void devices_come_in_pages(void)
{
    enum { DEVICES = 23 };
    static const char *ids[DEVICES];
    static char texts[DEVICES][16];
    struct store *store = store_open();
    for (uint32_t i = 0; i < DEVICES; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "D%03u", i * 7 % DEVICES);
        ids[i] = texts[i];
        insert(store, device(ids[i]));
    }
    expect_scan(store, CVM_SCAN_DEVICES, 0, ids, DEVICES);
    store_end(store);
}

static void what_is_due_is_found_when_it_is_due(void)
{
    struct store *store = store_open();
    write_certificate(store, retiring("C3", "D", NOW + 1));
    write_certificate(store, retiring("C2", "D", NOW));
    write_certificate(store, retiring("C1", "D", NOW - DAY_MS));
    write_certificate(store, retiring("C0", "D", 0));
    write_certificate(store, certificate("C4", "D", "current"));
    write_certificate(store, certificate("C5", "D", "revoked"));
    write_certificate(store, certificate("C6", "D", "pending"));
    EXPECT_SCAN(store, CVM_SCAN_DUE, NOW, "C0", "C1", "C2");
    EXPECT_SCAN(store, CVM_SCAN_DUE, NOW + 1, "C0", "C1", "C2", "C3");
    EXPECT_SCAN(store, CVM_SCAN_DUE, 0, "C0");
    store_end(store);
}

static void what_a_crl_lists_is_found(void)
{
    struct store *store = store_open();
    write_certificate(
        store, with_number(certificate("C0", "D", "revoked"), CVM_C_NOT_AFTER, NOW)); /* ended */
    write_certificate(store, certificate("C3", "D", "revoked"));
    write_certificate(store, certificate("C1", "GONE", "revoked"));
    write_certificate(store, retiring("C2", "D", NOW));
    write_certificate(store, retiring("C4", "D", NOW + 1));
    write_certificate(store, certificate("C5", "D", "current"));
    write_certificate(store, certificate("C6", "D", "pending"));
    EXPECT_SCAN(store, CVM_SCAN_REVOKED, NOW, "C1", "C2", "C3");
    store_end(store);
}

static void leases_that_ended_are_found(void)
{
    const struct {
        const char *uid, *owner, *certificate_id;
        int64_t until_ms;
    } LEASES[] = {{"NONE", NULL, NULL, 0}, {"ENDED", "owner", NULL, NOW},
        {"HELD", "owner", "C1", NOW + 1}, {"LEFT", NULL, "C2", 0}};
    struct store *store = store_open();
    for (size_t i = 0; i < LENGTH(LEASES); i++) {
        cvm_record_t *record = with_text(device(LEASES[i].uid), CVM_D_LEASE_OWNER, LEASES[i].owner);
        with_text(record, CVM_D_LEASE_CERTIFICATE_ID, LEASES[i].certificate_id);
        insert(store, with_number(record, CVM_D_LEASE_UNTIL, LEASES[i].until_ms));
    }
    EXPECT_SCAN(store, CVM_SCAN_ENDED_LEASES, NOW, "ENDED", "LEFT");
    EXPECT_SCAN(store, CVM_SCAN_ENDED_LEASES, NOW + 1, "ENDED", "LEFT", "HELD");
    store_end(store);
}

static void insert_with(struct store *store, const char *uid, int is_enabled, int is_suspended,
    const char *certificate_id)
{
    cvm_record_t *record = with_text(device(uid), CVM_D_CERTIFICATE_ID, certificate_id);
    with_number(record, CVM_D_IS_ENABLED, is_enabled);
    insert(store, with_number(record, CVM_D_IS_SUSPENDED, is_suspended));
}

static void suspensions_that_are_due_are_found(void)
{
    struct store *store = store_open();
    insert_with(store, "FINE", 1, 0, "C1");
    insert_with(store, "TO_SUSPEND", 0, 0, "C2");
    insert_with(store, "SUSPENDED", 0, 1, "C3");
    insert_with(store, "TO_RESUME", 1, 1, "C4");
    insert_with(store, "NO_CERTIFICATE", 0, 0, "");
    EXPECT_SCAN(store, CVM_SCAN_UNSUSPENDED, NOW, "TO_SUSPEND", "TO_RESUME");
    store_end(store);
}

static void certificates_of_disabled_devices_are_found(void)
{
    struct store *store = store_open();
    insert_with(store, "FINE", 1, 0, "C1");
    insert_with(store, "TO_SUSPEND", 0, 0, "C2");
    insert_with(store, "SUSPENDED", 0, 1, "C3");
    insert_with(store, "TO_RESUME", 1, 1, "C4");
    write_certificate(store, certificate("C1", "FINE", "current"));
    write_certificate(store, certificate("C2", "TO_SUSPEND", "current"));
    write_certificate(store, certificate("C3", "SUSPENDED", "retiring"));
    write_certificate(store, certificate("C9", "SUSPENDED", "revoked"));
    write_certificate(store, certificate("C8", "SUSPENDED", "pending"));
    write_certificate(store, certificate("C4", "TO_RESUME", "current"));
    write_certificate(store, certificate("C5", "SUSPENDED", "current"));
    write_certificate(store, certificate("C6", "SUSPENDED", "retiring"));
    EXPECT_SCAN(store, CVM_SCAN_SUSPENDED, NOW, "C2", "C3", "C5", "C6");
    EXPECT_NUMBER(scan_all(store, CVM_SCAN_SUSPENDED, NOW + 2 * DAY_MS, 9, NULL, NULL), 0);
    store_end(store);
}

/* What a store is copied by. */
static void all_certificates_come_whole(void)
{
    struct store *store = store_open();
    static const char *const IDS[] = {"C1", "C2", "C3"};
    cvm_record_t *rows[] = {certificate("C1", "D", "pending"), certificate("C2", "D", "revoked"),
        certificate("C3", "GONE", "current")};
    const char *cursor = "";
    for (size_t i = 0; i < LENGTH(rows); i++)
        write_certificate(store, rows[i]);
    do {
        const cvm_op_t *op =
            EXPECT_ANSWER(scan(store, CVM_SCAN_CERTIFICATES, cursor, 0, 2), CVM_ANSWER_OK);
        for (uint32_t i = 0; i < op->count; i++)
            for (size_t k = 0; k < LENGTH(rows); k++)
                if (strcmp(records_text(op->found[i], CVM_C_CERTIFICATE_ID), IDS[k]) == 0)
                    EXPECT_SAME(op->found[i], rows[k], CVM_CERTIFICATE_FIELD_COUNT);
        cursor = cursor_of(op);
    } while (*cursor);
    expect_scan(store, CVM_SCAN_CERTIFICATES, 0, IDS, LENGTH(IDS));
    store_end(store);
}

/* One whose time becomes "at once" while it is looked for. */
static void what_stays_due_is_not_missed(void)
{
    static const char *const IDS[] = {"C1", "C2", "C3"};
    struct seen seen = {.ids = IDS, .count = LENGTH(IDS)};
    struct store *store = store_open();
    write_certificate(store, retiring("C1", "D", NOW - 3));
    write_certificate(store, retiring("C2", "D", NOW - 2));
    write_certificate(store, retiring("C3", "D", 0));
    const char *cursor = "";
    for (int page = 0; page == 0 || *cursor; page++) {
        const cvm_op_t *op =
            EXPECT_ANSWER(scan(store, CVM_SCAN_DUE, cursor, NOW, 1), CVM_ANSWER_OK);
        for (uint32_t i = 0; i < op->count; i++)
            see(&seen, op->found[i]);
        cursor = cursor_of(op);
        if (page)
            continue;
        write_certificate(store, retiring("C1", "D", 0));
        write_certificate(store, retiring("C2", "D", 0));
    }
    for (uint32_t i = 0; i < seen.count; i++)
        EXPECT(seen.times[i] >= 1);
    store_end(store);
}

/* Between two pages devices come, go and change: those that stay are answered all the same. */
static void what_stays_is_not_missed_while_others_come_and_go(void)
{
    enum { STAY = 40 };
    static const char *ids[STAY];
    static char texts[STAY][16];
    struct seen seen = {.ids = ids, .count = STAY};
    struct store *store = store_open();
    for (uint32_t i = 0; i < STAY; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "S%03u", i);
        ids[i] = texts[i];
        insert(store, device(ids[i]));
        insert(store, device(numbered("GOES", i)));
    }
    const char *cursor = "";
    uint32_t page = 0;
    do {
        const cvm_op_t *op =
            EXPECT_ANSWER(scan(store, CVM_SCAN_DEVICES, cursor, 0, 3), CVM_ANSWER_OK);
        for (uint32_t i = 0; i < op->count; i++)
            see(&seen, op->found[i]);
        cursor = cursor_of(op);
        if (page < STAY) {
            const cvm_record_t *stays = read_device(store, ids[page]),
                               *goes = read_device(store, numbered("GOES", STAY - 1 - page));
            EXPECT_ANSWER(swap(store, stays, stays, NULL), CVM_ANSWER_OK);
            EXPECT_ANSWER(begin_remove(store, goes, NULL, 0), CVM_ANSWER_OK);
            insert(store, device(numbered("COMES", page * 37 % 100)));
        }
        EXPECT(page++ < 1000); /* it has an end */
    } while (*cursor);
    for (uint32_t i = 0; i < STAY; i++)
        EXPECT(seen.times[i] >= 1);
    store_end(store);
}

/* What is answered OK is in the scan that is begun next: a CRL is made of it. */
static void a_scan_sees_what_was_complete_before(void)
{
    if (store_is(CVM_STORE_SCANS_LAG))
        check_skip("it says that its scans lag");
    struct store *store = store_open();
    for (uint32_t i = 1; i <= 50; i++) {
        write_certificate(store, certificate(numbered("C", i), "D", "revoked"));
        EXPECT_NUMBER(scan_all(store, CVM_SCAN_REVOKED, NOW, 20, NULL, NULL), i);
    }
    store_end(store);
}

static void one_that_there_is_not_is_refused(void)
{
    struct store *store = store_open();
    EXPECT_ANSWER(scan(store, 77, "", NOW, 10), CVM_ANSWER_INVALID);
    EXPECT_ANSWER(scan(store, -1, "", NOW, 10), CVM_ANSWER_INVALID);
    store_end(store);
}

const struct test TESTS_OF_SCANS[] = {
    {"an empty store answers nothing", an_empty_store_answers_nothing},
    {"devices come in pages", devices_come_in_pages},
    {"what is due is found when it is due", what_is_due_is_found_when_it_is_due},
    {"what a CRL lists is found", what_a_crl_lists_is_found},
    {"leases that ended are found", leases_that_ended_are_found},
    {"suspensions that are due are found", suspensions_that_are_due_are_found},
    {"certificates of disabled devices are found", certificates_of_disabled_devices_are_found},
    {"all certificates come whole", all_certificates_come_whole},
    {"what stays due is not missed", what_stays_due_is_not_missed},
    {"what stays is not missed while others come and go",
        what_stays_is_not_missed_while_others_come_and_go},
    {"a scan sees what was complete before", a_scan_sees_what_was_complete_before},
    {"one that there is not is refused", one_that_there_is_not_is_refused},
    {NULL, NULL},
};
