/* Devices: read, written by compare-and-swap, removed. */
#include <stdlib.h>

#include "check.h"

static void an_unknown_device_is_not_found(void)
{
    static const char *const UIDS[] = {"NOBODY", "", "'; DROP TABLE devices; --", "%", "_", "*",
        "..", "\xc3\xa9", "\xf0\x9f\x94\x91"};
    struct store *store = store_open();
    insert(store, device("SOMEBODY"));
    for (size_t i = 0; i < LENGTH(UIDS); i++)
        EXPECT_ANSWER(begin_get(store, UIDS[i]), CVM_ANSWER_NOT_FOUND);
    store_end(store);
}

/* A text of the field's longest, numbers at their ends; flags are set. */
static void records_fill(cvm_record_t *record, uint32_t end)
{
    char text[8193];
    cvm_record_kind_t kind = records_kind(record);
    for (uint32_t i = 0; i < end; i++) {
        uint32_t longest = records_field_longest(kind, i);
        if (strncmp(records_field_name(kind, i), "is_", 3) == 0) {
            with_number(record, i, 1);
            continue;
        }
        if (records_field_kind(kind, i) == CVM_FIELD_NUMBER) {
            with_number(record, i, i % 2 ? INT64_MAX - i : INT64_MIN + i);
            continue;
        }
        memset(text, 'a' + (int)(i % 26), longest);
        text[longest] = 0;
        with_text(record, i, text);
    }
}

/* One in memory does not. */
static bool records_outlive_closing(void)
{
    struct store *store = store_open();
    insert(store, device("OUTLIVES"));
    store_end(store);
    store = store_open();
    bool is_there = get(store, "OUTLIVES")->answer == CVM_ANSWER_OK;
    store_end(store);
    return is_there;
}

static void records_keep_every_field(void)
{
    bool is_opened_anew = records_outlive_closing();
    uint32_t device_end = records_field_count(CVM_RECORD_DEVICE),
             end = records_field_count(CVM_RECORD_CERTIFICATE);
    struct store *store = store_open();
    cvm_record_t *wanted = device(""), *row = certificate("", "", "");
    records_fill(wanted, device_end);
    records_fill(row, end);
    with_number(wanted, CVM_D_REVISION, 0); /* the store's own */
    const char *uid = records_text(wanted, CVM_D_DEVICE_UID);
    with_text(row, CVM_C_DEVICE_UID, uid);
    EXPECT_ANSWER(swap(store, NULL, wanted, row), CVM_ANSWER_OK);
    if (is_opened_anew) {
        store_end(store);
        store = store_open();
    }
    const cvm_record_t *found = read_device(store, uid);
    EXPECT_SAME(found, wanted, CVM_D_REVISION);
    for (uint32_t i = CVM_DEVICE_FIELD_COUNT; i < device_end; i++)
        EXPECT(strcmp(records_text(found, i), records_text(wanted, i)) == 0 &&
               records_number(found, i) == records_number(wanted, i));
    EXPECT(records_number(found, CVM_D_REVISION) > 0);
    const cvm_op_t *rows = get_certificates(store, uid, 10);
    EXPECT_NUMBER(rows->count, 1);
    EXPECT_SAME(rows->found[0], row, end);
    store_end(store);
}

static void every_field_is_kept(void)
{
    records_keep_every_field();
}

/* A later release's fields, by their names. */
static void fields_of_a_later_release_are_kept(void)
{
    store_must_be(CVM_STORE_EXTRA_FIELDS, "it says that it keeps no fields that it doesn't know");
    records_are_later = true;
    records_keep_every_field();
}

static void fields_of_a_later_release_change(void)
{
    enum { TEXT = CVM_DEVICE_FIELD_COUNT, NUMBER = CVM_CERTIFICATE_FIELD_COUNT + 1 };
    store_must_be(CVM_STORE_EXTRA_FIELDS, "it says that it keeps no fields that it doesn't know");
    records_are_later = true;
    struct store *store = store_open();
    insert(store, with_text(device("D"), TEXT, "one"));
    write_certificate(store, with_number(certificate("C", "D", "pending"), NUMBER, 1));
    const cvm_record_t *read = read_device(store, "D");
    EXPECT_ANSWER(swap(store, read, with_text(copy_of(read), TEXT, "two"), NULL), CVM_ANSWER_OK);
    write_certificate(store, with_number(certificate("C", "D", "current"), NUMBER, 2));
    EXPECT_TEXT(records_text(read_device(store, "D"), TEXT), "two");
    EXPECT_NUMBER(records_number(get_certificates(store, "D", 1)->found[0], NUMBER), 2);
    store_end(store);
}

/* Text compares as bytes, and comes back as it went in. A uid has no other characters than these.
 */
static void text_is_bytes(void)
{
    static const char *const UIDS[] = {
        "a", "A", "a_", "_a", "a-", "-", "a:b", "aa", "Z", "0", "00"};
    static const char *const TEXTS[] = {"a ", " a", "\xc3\xa9", "e\xcc\x81", "a%", "a\\", "a'b",
        "a\"b", "\x01\x1f\x7f", "\xf0\x9f\x94\x91", "a\tb\nc"};
    struct store *store = store_open();
    for (size_t i = 0; i < LENGTH(UIDS); i++)
        insert(store, with_text(device(UIDS[i]), CVM_D_THING_NAME, TEXTS[i]));
    for (size_t i = 0; i < LENGTH(UIDS); i++)
        EXPECT_TEXT(records_text(read_device(store, UIDS[i]), CVM_D_THING_NAME), TEXTS[i]);
    EXPECT_NUMBER(scan_all(store, CVM_SCAN_DEVICES, 0, 3, NULL, NULL), LENGTH(UIDS));
    store_end(store);
}

static void the_second_insert_conflicts(void)
{
    struct store *store = store_open();
    cvm_record_t *other = with_text(device("D"), CVM_D_DEVICE_TOKEN, "other");
    insert(store, device("D"));
    EXPECT_ANSWER(swap(store, NULL, other, NULL), CVM_ANSWER_CONFLICT);
    EXPECT_TEXT(records_text(read_device(store, "D"), CVM_D_DEVICE_TOKEN), "token");
    store_end(store);
}

static void a_swap_wants_the_record_as_it_was_read(void)
{
    struct store *store = store_open();
    insert(store, device("D"));
    const cvm_record_t *first = read_device(store, "D");
    cvm_record_t *wanted = with_text(copy_of(first), CVM_D_THING_NAME, "one"),
                 *row = certificate("C1", "D", "current");
    EXPECT_ANSWER(swap(store, first, wanted, NULL), CVM_ANSWER_OK);
    with_text(wanted, CVM_D_THING_NAME, "two");
    EXPECT_ANSWER(swap(store, first, wanted, row), CVM_ANSWER_CONFLICT);
    const cvm_record_t *second = read_device(store, "D");
    EXPECT_TEXT(records_text(second, CVM_D_THING_NAME), "one");
    EXPECT_NUMBER(
        records_number(second, CVM_D_REVISION), records_number(first, CVM_D_REVISION) + 1);
    EXPECT_TEXT(state_of(store, "D", 0), "none"); /* nothing of a change that conflicts */
    EXPECT_ANSWER(swap(store, second, wanted, row), CVM_ANSWER_OK);
    EXPECT_TEXT(state_of(store, "D", 0), "current");
    EXPECT_TEXT(records_text(read_device(store, "D"), CVM_D_THING_NAME), "two");
    store_end(store);
}

static void a_swap_that_changes_nothing_is_a_write(void)
{
    struct store *store = store_open();
    insert(store, device("D"));
    const cvm_record_t *first = read_device(store, "D");
    EXPECT_ANSWER(swap(store, first, first, NULL), CVM_ANSWER_OK);
    EXPECT_ANSWER(swap(store, first, first, NULL), CVM_ANSWER_CONFLICT);
    store_end(store);
}

static void a_device_that_is_gone_conflicts(void)
{
    struct store *store = store_open();
    insert(store, device("D"));
    const cvm_record_t *first = read_device(store, "D");
    EXPECT_ANSWER(begin_remove(store, first, NULL, 0), CVM_ANSWER_OK);
    EXPECT_ANSWER(swap(store, first, first, NULL), CVM_ANSWER_CONFLICT);
    EXPECT_ANSWER(begin_remove(store, first, NULL, 0), CVM_ANSWER_CONFLICT);
    EXPECT_ANSWER(begin_get(store, "D"), CVM_ANSWER_NOT_FOUND);
    store_end(store);
}

static void a_removal_wants_the_record_as_it_was_read(void)
{
    struct store *store = store_open();
    insert(store, device("D"));
    const cvm_record_t *first = read_device(store, "D"), *row = certificate("C1", "D", "revoked");
    EXPECT_ANSWER(swap(store, first, first, NULL), CVM_ANSWER_OK);
    EXPECT_ANSWER(begin_remove(store, first, &row, 1), CVM_ANSWER_CONFLICT);
    EXPECT_TEXT(state_of(store, "D", 0), "none");
    EXPECT_ANSWER(begin_remove(store, read_device(store, "D"), &row, 1), CVM_ANSWER_OK);
    EXPECT_ANSWER(begin_get(store, "D"), CVM_ANSWER_NOT_FOUND);
    EXPECT_TEXT(state_of(store, "D", 0), "revoked");
    store_end(store);
}

/* To whoever has read it before, a device that was removed and added anew is another one. */
static void what_begins_anew_is_not_what_it_was(void)
{
    struct store *store = store_open();
    insert(store, device("D"));
    const cvm_record_t *before = read_device(store, "D");
    EXPECT_ANSWER(begin_remove(store, before, NULL, 0), CVM_ANSWER_OK);
    insert(store, device("D"));
    const cvm_record_t *after = read_device(store, "D");
    EXPECT(records_number(before, CVM_D_REVISION) != records_number(after, CVM_D_REVISION));
    EXPECT_ANSWER(swap(store, before, before, NULL), CVM_ANSWER_CONFLICT);
    EXPECT_ANSWER(begin_remove(store, before, NULL, 0), CVM_ANSWER_CONFLICT);
    EXPECT_ANSWER(swap(store, after, after, NULL), CVM_ANSWER_OK);
    store_end(store);
}

/* Nor is one whose revision went up before it was removed. */
static void what_begins_anew_is_not_what_it_became(void)
{
    struct store *store = store_open();
    insert(store, device("D"));
    for (uint32_t i = 0; i < 3; i++) {
        const cvm_record_t *read = read_device(store, "D");
        EXPECT_ANSWER(swap(store, read, read, NULL), CVM_ANSWER_OK);
        const cvm_record_t *before = read_device(store, "D");
        EXPECT_ANSWER(begin_remove(store, before, NULL, 0), CVM_ANSWER_OK);
        insert(store, device("D"));
        EXPECT_ANSWER(swap(store, before, before, NULL), CVM_ANSWER_CONFLICT);
    }
    store_end(store);
}

static void of_many_swaps_one_wins(void)
{
    enum { MANY = 300 };
    static cvm_op_t *ops[MANY];
    struct store *store = store_open();
    insert(store, device("D"));
    for (int round = 0; round < 3; round++) {
        uint32_t winners = 0;
        const cvm_record_t *read = read_device(store, "D");
        for (int i = 0; i < MANY; i++)
            ops[i] = begin_swap(store, read, read, NULL, 0);
        for (int i = 0; i < MANY; i++)
            winners += wait_for(ops[i])->answer == CVM_ANSWER_OK;
        for (int i = 0; i < MANY; i++)
            EXPECT(ops[i]->answer == CVM_ANSWER_OK || ops[i]->answer == CVM_ANSWER_CONFLICT);
        EXPECT_NUMBER(winners, 1);
    }
    store_end(store);
}

/* A change that can't be is its own affair, and leaves nothing behind. */
static void a_change_that_can_not_be_spoils_no_other(void)
{
    enum { MANY = 50, BAD = 20 };
    static cvm_op_t *ops[MANY];
    struct store *store = store_open();
    write_certificate(store, certificate("THERE", "D020", "current"));
    for (uint32_t i = 0; i < MANY; i++) {
        const cvm_record_t *row = certificate(numbered("C", i), numbered("D", i), "current");
        ops[i] = begin_swap(store, NULL, device(numbered("D", i)), &row, 1);
    }
    for (int i = 0; i < MANY; i++)
        EXPECT_ANSWER(ops[i], i == BAD ? CVM_ANSWER_CONFLICT : CVM_ANSWER_OK);
    EXPECT_ANSWER(begin_get(store, "D020"), CVM_ANSWER_NOT_FOUND);
    store_end(store);
}

/* Its caller has no time left. Whatever it answers is true. */
static void an_answer_is_true_however_late(void)
{
    struct store *store = store_open();
    insert(store, device("D"));
    const cvm_record_t *first = read_device(store, "D");
    cvm_op_t *op =
        begin_swap(store, first, with_text(copy_of(first), CVM_D_THING_NAME, "new"), NULL, 0);
    op->left_ms = 0;
    cvm_answer_t answer = wait_for(op)->answer;
    const char *thing = records_text(read_device(store, "D"), CVM_D_THING_NAME);
    EXPECT(
        answer == CVM_ANSWER_UNKNOWN || strcmp(thing, answer == CVM_ANSWER_OK ? "new" : "") == 0);
    store_end(store);
}

const struct test TESTS_OF_RECORDS[] = {
    {"an unknown device is not found", an_unknown_device_is_not_found},
    {"every field is kept", every_field_is_kept},
    {"fields of a later release are kept", fields_of_a_later_release_are_kept},
    {"fields of a later release change", fields_of_a_later_release_change},
    {"text is bytes", text_is_bytes},
    {"the second insert conflicts", the_second_insert_conflicts},
    {"a swap wants the record as it was read", a_swap_wants_the_record_as_it_was_read},
    {"a swap that changes nothing is a write", a_swap_that_changes_nothing_is_a_write},
    {"a device that is gone conflicts", a_device_that_is_gone_conflicts},
    {"a removal wants the record as it was read", a_removal_wants_the_record_as_it_was_read},
    {"what begins anew is not what it was", what_begins_anew_is_not_what_it_was},
    {"what begins anew is not what it became", what_begins_anew_is_not_what_it_became},
    {"of many swaps one wins", of_many_swaps_one_wins},
    {"a change that can not be spoils no other", a_change_that_can_not_be_spoils_no_other},
    {"an answer is true however late", an_answer_is_true_however_late},
    {NULL, NULL},
};
