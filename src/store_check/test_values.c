/* Small named values, written by their versions. */
#include <stdlib.h>

#include "check.h"

static int64_t put(struct store *store, const char *name, int64_t version, const char *value)
{
    return EXPECT_ANSWER(begin_meta_put(store, name, version, value), CVM_ANSWER_OK)
        ->numbers[CVM_OUT_VERSION];
}

static void one_is_written_by_its_version(void)
{
    struct store *store = store_open();
    EXPECT_ANSWER(meta_get(store, "a"), CVM_ANSWER_NOT_FOUND);
    EXPECT_ANSWER(meta_put(store, "a", 12345, "1"), CVM_ANSWER_CONFLICT);
    int64_t first = put(store, "a", 0, "1");
    EXPECT_ANSWER(meta_put(store, "a", 0, "2"), CVM_ANSWER_CONFLICT);
    EXPECT_ANSWER(meta_put(store, "a", first + 1, "2"), CVM_ANSWER_CONFLICT);
    const cvm_op_t *op = EXPECT_ANSWER(meta_get(store, "a"), CVM_ANSWER_OK);
    EXPECT_TEXT(op->outs[CVM_OUT_VALUE], "1");
    EXPECT_NUMBER(op->numbers[CVM_OUT_VERSION], first);
    int64_t second = put(store, "a", first, "1"); /* a write, all the same */
    EXPECT(second != first);
    EXPECT_ANSWER(meta_put(store, "a", first, "2"), CVM_ANSWER_CONFLICT);
    EXPECT_ANSWER(meta_get(store, "A"), CVM_ANSWER_NOT_FOUND);
    put(store, "empty", 0, "");
    EXPECT_TEXT(EXPECT_ANSWER(meta_get(store, "empty"), CVM_ANSWER_OK)->outs[CVM_OUT_VALUE], "");
    store_end(store);
}

static void one_is_removed_by_its_version(void)
{
    struct store *store = store_open();
    int64_t first = put(store, "a", 0, "1");
    EXPECT_ANSWER(meta_put(store, "a", first + 1, NULL), CVM_ANSWER_CONFLICT);
    EXPECT_ANSWER(meta_put(store, "a", first, NULL), CVM_ANSWER_OK);
    EXPECT_ANSWER(meta_get(store, "a"), CVM_ANSWER_NOT_FOUND);
    put(store, "a", 0, "2");
    EXPECT_ANSWER(meta_put(store, "a", first, "3"), CVM_ANSWER_CONFLICT); /* it is another one */
    store_end(store);
}

/* The largest, under the longest name, with each byte that text may have. */
static void the_largest_is_kept(void)
{
    char *value = malloc(CVM_LARGEST_VALUE + 1), name[CVM_LONGEST_NAME + 1];
    EXPECT(value != NULL);
    for (uint32_t i = 0; i < CVM_LARGEST_VALUE; i++)
        value[i] = (char)(i % 127 + 1);
    value[CVM_LARGEST_VALUE] = 0;
    memset(name, 'n', CVM_LONGEST_NAME);
    name[CVM_LONGEST_NAME] = 0;
    struct store *store = store_open();
    int64_t version = put(store, name, 0, value);
    const cvm_op_t *op = EXPECT_ANSWER(meta_get(store, name), CVM_ANSWER_OK);
    EXPECT(strcmp(op->outs[CVM_OUT_VALUE], value) == 0);
    EXPECT_NUMBER(op->numbers[CVM_OUT_VERSION], version);
    store_end(store);
    free(value);
}

struct listed {
    const char *name;
    int64_t version;
    uint32_t times;
};

static void list(void *argument, const cvm_record_t *record)
{
    for (struct listed *listed = argument; listed->name; listed++)
        listed->times += strcmp(records_text(record, CVM_V_NAME), listed->name) == 0 &&
                         records_number(record, CVM_V_VERSION) == listed->version;
}

static void they_are_listed_with_their_versions(void)
{
    struct listed values[] = {
        {"check_b", 0, 0}, {"check_a", 0, 0}, {"check_c", 0, 0}, {NULL, 0, 0}};
    struct store *store = store_open();
    for (size_t i = 0; values[i].name; i++)
        values[i].version = put(store, values[i].name, 0, "x");
    values[1].version = put(store, "check_a", values[1].version, "y");
    for (uint32_t page = 1; page < 4; page++)
        (void)scan_all(store, CVM_SCAN_META, 0, page, list, values);
    for (size_t i = 0; values[i].name; i++)
        EXPECT_NUMBER(values[i].times, 3);
    store_end(store);
}

/* While a store is frozen nothing is written but what thaws it; what was OK before is there. */
static void a_store_that_is_frozen_writes_nothing(void)
{
    enum { MANY = 50 };
    static cvm_op_t *ops[MANY];
    store_must_be(CVM_STORE_FREEZES, "it says that it can't be frozen");
    struct store *store = store_open();
    insert(store, device("D"));
    int64_t version = put(store, "a", 0, "1");
    const cvm_record_t *read = read_device(store, "D");
    for (uint32_t i = 0; i < MANY; i++)
        ops[i] = begin_swap(store, NULL, device(numbered("D", i)), NULL, 0);
    int64_t frozen = put(store, CVM_FROZEN, 0, "since today");
    cvm_record_t *devices[] = {device("LOADED")};
    uint8_t row;
    EXPECT_ANSWER(swap(store, NULL, device("NEW"), NULL), CVM_ANSWER_UNAVAILABLE);
    EXPECT_ANSWER(swap(store, read, read, NULL), CVM_ANSWER_UNAVAILABLE);
    EXPECT_ANSWER(
        swap(store, NULL, NULL, certificate("C", "D", "pending")), CVM_ANSWER_UNAVAILABLE);
    EXPECT_ANSWER(begin_remove(store, read, NULL, 0), CVM_ANSWER_UNAVAILABLE);
    EXPECT_ANSWER(begin_load(store, 0, devices, 1, NULL, 0, &row), CVM_ANSWER_UNAVAILABLE);
    EXPECT_ANSWER(meta_put(store, "a", version, "2"), CVM_ANSWER_UNAVAILABLE);
    EXPECT_ANSWER(meta_put(store, "a", version, NULL), CVM_ANSWER_UNAVAILABLE);
    EXPECT_ANSWER(meta_put(store, "b", 0, "2"), CVM_ANSWER_UNAVAILABLE);
    EXPECT_ANSWER(ready(store), CVM_ANSWER_UNAVAILABLE);
    EXPECT_ANSWER(meta_put(store, CVM_FROZEN, 0, "again"), CVM_ANSWER_CONFLICT);
    for (uint32_t i = 0; i < MANY; i++) {
        bool is_ok = wait_for(ops[i])->answer == CVM_ANSWER_OK;
        EXPECT(is_ok || ops[i]->answer == CVM_ANSWER_UNAVAILABLE);
        EXPECT_ANSWER(
            begin_get(store, numbered("D", i)), is_ok ? CVM_ANSWER_OK : CVM_ANSWER_NOT_FOUND);
    }
    EXPECT_ANSWER(meta_put(store, CVM_FROZEN, frozen, NULL), CVM_ANSWER_OK);
    EXPECT_ANSWER(ready(store), CVM_ANSWER_OK);
    EXPECT_ANSWER(swap(store, read, read, NULL), CVM_ANSWER_OK);
    put(store, "a", version, "2");
    store_end(store);
}

const struct test TESTS_OF_VALUES[] = {
    {"one is written by its version", one_is_written_by_its_version},
    {"one is removed by its version", one_is_removed_by_its_version},
    {"the largest is kept", the_largest_is_kept},
    {"they are listed with their versions", they_are_listed_with_their_versions},
    {"a store that is frozen writes nothing", a_store_that_is_frozen_writes_nothing},
    {NULL, NULL},
};
