/* Loads: imports, and copies of whole stores. */
#include "check.h"

static uint8_t rows[256];

static cvm_op_t *load(
    struct store *store, cvm_record_t *const *devices, uint32_t count, uint32_t flags)
{
    return begin_load(store, flags, devices, count, NULL, 0, rows);
}

/* Whole records go over. */
static void what_is_loaded_whole_is_kept_whole(void)
{
    struct store *store = store_open();
    cvm_record_t *devices[] = {device("WHOLE"), device("NEW")};
    cvm_record_t *certificates[] = {certificate("C1", "WHOLE", "current"),
        certificate("C2", "GONE", "revoked"), certificate("THERE", "WHOLE", "retiring")};
    write_certificate(store, certificate("THERE", "WHOLE", "revoked"));
    with_number(with_number(devices[0], CVM_D_REVISION, 4711), CVM_D_IS_REGISTERED, 1);
    with_text(with_text(devices[0], CVM_D_THING_NAME, "thing"), CVM_D_CERTIFICATE_ID, "C1");
    with_text(with_text(devices[0], CVM_D_LEASE_OWNER, "owner"), CVM_D_PUBLIC_KEY_SHA256, "key");
    EXPECT_ANSWER(
        begin_load(store, 0, devices, LENGTH(devices), certificates, LENGTH(certificates), rows),
        CVM_ANSWER_OK);
    EXPECT_NUMBER(rows[0], CVM_LOAD_INSERTED);
    const cvm_record_t *found = read_device(store, "WHOLE");
    EXPECT_SAME(found, devices[0], CVM_DEVICE_FIELD_COUNT);
    const cvm_op_t *op = get_certificates(store, "WHOLE", 10);
    EXPECT_NUMBER(op->count, 2);
    EXPECT_SAME(op->found[0], certificates[0], CVM_CERTIFICATE_FIELD_COUNT);
    EXPECT_TEXT(records_text(op->found[1], CVM_C_STATE), "revoked"); /* it stays as it was */
    EXPECT_TEXT(state_of(store, "GONE", 0), "revoked");
    EXPECT(records_number(read_device(store, "NEW"), CVM_D_REVISION) > 4711); /* random */
    /* The revision goes on from there. */
    EXPECT_ANSWER(swap(store, found, found, NULL), CVM_ANSWER_OK);
    EXPECT_NUMBER(records_number(read_device(store, "WHOLE"), CVM_D_REVISION), 4712);
    store_end(store);
}

/* What was loaded has its key as what was registered has. */
static void a_key_that_was_loaded_is_in_use(void)
{
    store_must_be(CVM_STORE_UNIQUE_KEYS, "it says that it does not look after keys");
    struct store *store = store_open();
    cvm_record_t *devices[] = {with_text(device("LOADED"), CVM_D_PUBLIC_KEY_SHA256, "current")};
    cvm_record_t *certificates[] = {
        with_text(certificate("C1", "LOADED", "current"), CVM_C_PUBLIC_KEY_SHA256, "current"),
        with_text(certificate("C2", "LOADED", "retiring"), CVM_C_PUBLIC_KEY_SHA256, "retiring"),
        with_text(with_text(certificate("C3", "GONE", "revoked"), CVM_C_PUBLIC_KEY_SHA256, "lost"),
            CVM_C_REASON, "keyCompromise"),
        with_text(certificate("C4", "LOADED", "revoked"), CVM_C_PUBLIC_KEY_SHA256, "free")};
    static const struct {
        const char *key;
        cvm_answer_t answer;
    } KEYS[] = {{"current", CVM_ANSWER_KEY_IN_USE}, {"retiring", CVM_ANSWER_KEY_IN_USE},
        {"lost", CVM_ANSWER_KEY_IN_USE}, {"free", CVM_ANSWER_OK}};
    EXPECT_ANSWER(
        begin_load(store, 0, devices, 1, certificates, LENGTH(certificates), rows), CVM_ANSWER_OK);
    for (uint32_t i = 0; i < LENGTH(KEYS); i++) {
        cvm_record_t *other =
            with_text(device(numbered("D", i)), CVM_D_PUBLIC_KEY_SHA256, KEYS[i].key);
        EXPECT_ANSWER(swap(store, NULL, other, NULL), KEYS[i].answer);
    }
    store_end(store);
}

/* A row that breaks the store's own rules: nothing of the load is written, and what others write at
 * the same time is. */
static void one_that_breaks_a_rule_fails_alone(void)
{
    store_must_be(CVM_STORE_UNIQUE_KEYS, "it says that it does not look after keys");
    struct store *store = store_open();
    insert(store, with_text(device("FIRST"), CVM_D_PUBLIC_KEY_SHA256, "key"));
    cvm_record_t *devices[] = {
        device("SECOND"), with_text(device("THIRD"), CVM_D_PUBLIC_KEY_SHA256, "key")};
    cvm_op_t *loading = load(store, devices, LENGTH(devices), 0),
             *other = begin_swap(store, NULL, device("NEW"), NULL, 0);
    wait_for(loading);
    EXPECT(loading->answer == CVM_ANSWER_CONFLICT || loading->answer == CVM_ANSWER_KEY_IN_USE);
    EXPECT_ANSWER(other, CVM_ANSWER_OK);
    EXPECT_NUMBER(rows[0], CVM_LOAD_NONE);
    EXPECT_ANSWER(begin_get(store, "SECOND"), CVM_ANSWER_NOT_FOUND);
    store_end(store);
}

static void each_row_is_told_what_became_of_it(void)
{
    struct store *store = store_open();
    insert(store, device("SAME"));
    insert(store, device("OTHER"));
    const cvm_record_t *before = read_device(store, "OTHER");
    cvm_record_t *devices[] = {with_number(device("NEW"), CVM_D_IS_ENABLED, 0), device("SAME"),
        with_text(device("OTHER"), CVM_D_DEVICE_TOKEN, "another"), device("NEW")};
    EXPECT_ANSWER(load(store, devices, 4, 0), CVM_ANSWER_OK);
    EXPECT_NUMBER(rows[0], CVM_LOAD_INSERTED);
    EXPECT_NUMBER(rows[1], CVM_LOAD_UNCHANGED);
    EXPECT_NUMBER(rows[2], CVM_LOAD_CONFLICT);
    EXPECT_NUMBER(rows[3], CVM_LOAD_UNCHANGED);
    EXPECT_TEXT(records_text(read_device(store, "OTHER"), CVM_D_DEVICE_TOKEN), "token");
    EXPECT_NUMBER(records_number(read_device(store, "NEW"), CVM_D_IS_ENABLED), 0);

    EXPECT_ANSWER(load(store, devices, 4, CVM_LOAD_REPLACE_TOKENS), CVM_ANSWER_OK);
    EXPECT_NUMBER(rows[0], CVM_LOAD_UNCHANGED);
    EXPECT_NUMBER(rows[2], CVM_LOAD_REPLACED);
    EXPECT_TEXT(records_text(read_device(store, "OTHER"), CVM_D_DEVICE_TOKEN), "another");
    /* Who read the record before that must not write the old token back. */
    EXPECT_ANSWER(swap(store, before, before, NULL), CVM_ANSWER_CONFLICT);
    EXPECT_ANSWER(load(store, devices, 0, 0), CVM_ANSWER_OK);
    cvm_record_t *alone = certificate("C1", "GONE", "revoked");
    EXPECT_ANSWER(begin_load(store, 0, NULL, 0, &alone, 1, NULL), CVM_ANSWER_OK);
    EXPECT_TEXT(state_of(store, "GONE", 0), "revoked");
    store_end(store);
}

/* Of several rows of one device the first is inserted, and the last one's token replaces. */
static void duplicates_are_one_device(void)
{
    struct store *store = store_open();
    cvm_record_t *devices[] = {with_text(device("D"), CVM_D_DEVICE_TOKEN, "first"),
        with_text(device("D"), CVM_D_DEVICE_TOKEN, "second"),
        with_text(device("D"), CVM_D_DEVICE_TOKEN, "first"),
        with_text(device("D"), CVM_D_DEVICE_TOKEN, "third")};
    EXPECT_ANSWER(load(store, devices, 3, 0), CVM_ANSWER_OK);
    EXPECT_NUMBER(rows[0], CVM_LOAD_INSERTED);
    EXPECT_NUMBER(rows[1], CVM_LOAD_CONFLICT);
    EXPECT_NUMBER(rows[2], CVM_LOAD_UNCHANGED);
    EXPECT_TEXT(records_text(read_device(store, "D"), CVM_D_DEVICE_TOKEN), "first");
    EXPECT_ANSWER(load(store, devices, 4, CVM_LOAD_REPLACE_TOKENS), CVM_ANSWER_OK);
    EXPECT_NUMBER(rows[3], CVM_LOAD_REPLACED);
    EXPECT_TEXT(records_text(read_device(store, "D"), CVM_D_DEVICE_TOKEN), "third");
    store_end(store);
}

/* Of a device that two insert, one has inserted it. */
static void one_beside_inserts_takes_nothing_twice(void)
{
    enum { MANY = 60 };
    static cvm_record_t *devices[MANY];
    static cvm_op_t *ops[MANY];
    struct store *store = store_open();
    for (uint32_t i = 0; i < MANY; i++)
        devices[i] = device(numbered("D", i));
    for (size_t i = 0; i < MANY / 2; i++)
        ops[i] = begin_swap(store, NULL, devices[i * 2], NULL, 0);
    cvm_op_t *loading = load(store, devices, MANY, 0);
    for (uint32_t i = MANY / 2; i < MANY; i++)
        ops[i] = begin_swap(store, NULL, devices[i], NULL, 0);
    EXPECT_ANSWER(loading, CVM_ANSWER_OK);
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t inserted = rows[i] == CVM_LOAD_INSERTED;
        if (i % 2 == 0)
            inserted += wait_for(ops[i / 2])->answer == CVM_ANSWER_OK;
        if (i >= MANY / 2)
            inserted += wait_for(ops[i])->answer == CVM_ANSWER_OK;
        EXPECT_NUMBER(inserted, 1);
    }
    EXPECT_NUMBER(scan_all(store, CVM_SCAN_DEVICES, 0, 1000, NULL, NULL), MANY);
    store_end(store);
}

const struct test TESTS_OF_LOADS[] = {
    {"what is loaded whole is kept whole", what_is_loaded_whole_is_kept_whole},
    {"a key that was loaded is in use", a_key_that_was_loaded_is_in_use},
    {"one that breaks a rule fails alone", one_that_breaks_a_rule_fails_alone},
    {"each row is told what became of it", each_row_is_told_what_became_of_it},
    {"duplicates are one device", duplicates_are_one_device},
    {"one beside inserts takes nothing twice", one_beside_inserts_takes_nothing_twice},
    {NULL, NULL},
};
