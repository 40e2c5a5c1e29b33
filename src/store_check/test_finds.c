/* Devices found by what they have, and the store's clock: both may be missing. */
#include <time.h>

#include "check.h"

static void a_device_is_found_by_what_it_has(void)
{
    if (!module.ops.find)
        check_skip("it has no find()");
    struct store *store = store_open();
    cvm_record_t *record = with_text(device("D"), CVM_D_THING_NAME, "its thing");
    insert(store, device("OTHER"));
    insert(store, with_text(record, CVM_D_PUBLIC_KEY_SHA256, "its key"));
    write_certificate(store,
        with_text(certificate("C1", "D", "revoked"), CVM_C_PUBLIC_KEY_SHA256, "its old key"));
    write_certificate(store, certificate("C2", "GONE", "current"));
    static const struct {
        cvm_find_by_t by;
        const char *value, *uid;
    } CASES[] = {{CVM_FIND_CERTIFICATE, "C1", "D"}, {CVM_FIND_CERTIFICATE, "C2", "GONE"},
        {CVM_FIND_CERTIFICATE, "C3", NULL}, {CVM_FIND_CERTIFICATE, "", NULL},
        {CVM_FIND_THING, "its thing", "D"}, {CVM_FIND_THING, "Its thing", NULL},
        {CVM_FIND_THING, "", NULL}, {CVM_FIND_KEY, "its key", "D"},
        {CVM_FIND_KEY, "its old key", "D"}, {CVM_FIND_KEY, "C1", NULL}, {CVM_FIND_KEY, "", NULL}};
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        const cvm_op_t *op = EXPECT_ANSWER(find(store, CASES[i].by, CASES[i].value),
            CASES[i].uid ? CVM_ANSWER_OK : CVM_ANSWER_NOT_FOUND);
        if (CASES[i].uid)
            EXPECT_TEXT(op->outs[CVM_OUT_VALUE], CASES[i].uid);
    }
    EXPECT_ANSWER(find(store, 0, "D"), CVM_ANSWER_INVALID);
    EXPECT_ANSWER(find(store, 77, "D"), CVM_ANSWER_INVALID);
    store_end(store);
}

/* What it is found by now is found, however often that has changed. */
static void a_device_is_found_by_what_it_has_now(void)
{
    if (!module.ops.find)
        check_skip("it has no find()");
    struct store *store = store_open();
    insert(store, device("D"));
    for (uint32_t i = 0; i < 5; i++) {
        const cvm_record_t *read = read_device(store, "D");
        cvm_record_t *wanted = with_text(copy_of(read), CVM_D_THING_NAME, numbered("thing", i));
        with_text(wanted, CVM_D_PUBLIC_KEY_SHA256, numbered("key", i));
        EXPECT_ANSWER(swap(store, read, wanted, NULL), CVM_ANSWER_OK);
        EXPECT_ANSWER(find(store, CVM_FIND_THING, numbered("thing", i)), CVM_ANSWER_OK);
        EXPECT_ANSWER(find(store, CVM_FIND_KEY, numbered("key", i)), CVM_ANSWER_OK);
    }
    store_end(store);
}

static void its_clock_goes(void)
{
    if (!module.ops.now)
        check_skip("it has no now()");
    struct store *store = store_open();
    int64_t last = 0;
    for (int i = 0; i < 5; i++) {
        int64_t ms = EXPECT_ANSWER(now(store), CVM_ANSWER_OK)->numbers[CVM_OUT_NOW_MS];
        EXPECT(ms > INT64_C(1577836800000)); /* 2020 */
        EXPECT(ms >= last);
        last = ms;
    }
    store_end(store);
}

const struct test TESTS_OF_FINDS[] = {
    {"a device is found by what it has", a_device_is_found_by_what_it_has},
    {"a device is found by what it has now", a_device_is_found_by_what_it_has_now},
    {"its clock goes", its_clock_goes},
    {NULL, NULL},
};
