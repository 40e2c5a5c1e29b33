/* Certificates: written with their device or alone, by their ids. */
#include "check.h"

static void one_is_updated_by_its_id(void)
{
    struct store *store = store_open();
    write_certificate(store, certificate("C1", "D", "pending"));
    cvm_record_t *changed = certificate("C1", "D", "retiring");
    with_text(with_text(changed, CVM_C_PEM, "another PEM"), CVM_C_REASON, "superseded");
    with_number(with_text(changed, CVM_C_SUCCESSOR, "C2"), CVM_C_REVOKE_AFTER, 17);
    write_certificate(store, changed);
    const cvm_op_t *op = get_certificates(store, "D", 10);
    EXPECT_NUMBER(op->count, 1);
    EXPECT_TEXT(records_text(op->found[0], CVM_C_STATE), "retiring");
    EXPECT_TEXT(records_text(op->found[0], CVM_C_REASON), "superseded");
    EXPECT_TEXT(records_text(op->found[0], CVM_C_SUCCESSOR), "C2");
    EXPECT_NUMBER(records_number(op->found[0], CVM_C_REVOKE_AFTER), 17);
    EXPECT_TEXT(records_text(op->found[0], CVM_C_PEM), "PEM"); /* what it is stays */
    store_end(store);
}

static void nothing_is_ever_unrevoked(void)
{
    static const char *const STATES[] = {"pending", "current", "retiring", "revoked"};
    struct store *store = store_open();
    write_certificate(store, certificate("C1", "D", "revoked"));
    for (size_t i = 0; i < LENGTH(STATES); i++) {
        /* And of two who write down the same, one hears that he did not. */
        EXPECT_ANSWER(
            swap(store, NULL, NULL, certificate("C1", "D", STATES[i])), CVM_ANSWER_NOT_FOUND);
        EXPECT_TEXT(state_of(store, "D", 0), "revoked");
    }
    store_end(store);
}

/* A revoked row beside one that is not: the change is made, and the one stays as it is. */
static void a_revoked_one_holds_nothing_up(void)
{
    struct store *store = store_open();
    insert(store, device("D"));
    write_certificate(store, certificate("C1", "D", "revoked"));
    const cvm_record_t *read = read_device(store, "D"),
                       *rows[] = {
                           certificate("C1", "D", "retiring"), certificate("C2", "D", "current")};
    EXPECT_ANSWER(begin_swap(store, read, read, rows, 2), CVM_ANSWER_OK);
    EXPECT_TEXT(state_of(store, "D", 0), "current");
    EXPECT_TEXT(state_of(store, "D", 1), "revoked");
    store_end(store);
}

static void another_devices_row_stays_as_it_is(void)
{
    struct store *store = store_open();
    write_certificate(store, certificate("C1", "OWNER", "current"));
    EXPECT_ANSWER(
        swap(store, NULL, NULL, certificate("C1", "THIEF", "pending")), CVM_ANSWER_NOT_FOUND);
    EXPECT_TEXT(state_of(store, "OWNER", 0), "current");
    EXPECT_TEXT(state_of(store, "THIEF", 0), "none");
    store_end(store);
}

/* Writes the device as it is, with certificates. */
static cvm_op_t *touch(
    struct store *store, const char *uid, cvm_record_t *first, cvm_record_t *second)
{
    const cvm_record_t *rows[] = {first, second}, *read = read_device(store, uid);
    return wait_for(begin_swap(store, read, read, rows, second ? 2 : 1));
}

/* The last line of defence, whatever a caller's mistake; and what leaves `current` comes first. */
static void a_device_has_one_current(void)
{
    struct store *store = store_open();
    insert(store, device("D"));
    EXPECT_ANSWER(touch(store, "D", certificate("C1", "D", "current"), NULL), CVM_ANSWER_OK);
    EXPECT_ANSWER(touch(store, "D", certificate("C2", "D", "current"), NULL), CVM_ANSWER_CONFLICT);
    EXPECT_ANSWER(
        touch(store, "D", certificate("C1", "D", "retiring"), certificate("C2", "D", "current")),
        CVM_ANSWER_OK);
    EXPECT_TEXT(state_of(store, "D", 0), "current");
    EXPECT_TEXT(state_of(store, "D", 1), "retiring");
    EXPECT_TEXT(state_of(store, "D", 2), "none");
    store_end(store);
}

/* Nor for a moment, nor by a load. */
static void a_device_never_has_two_current(void)
{
    struct store *store = store_open();
    cvm_record_t *loaded[] = {certificate("C4", "D", "current")};
    insert(store, device("D"));
    EXPECT_ANSWER(
        touch(store, "D", certificate("C1", "D", "current"), certificate("C2", "D", "current")),
        CVM_ANSWER_CONFLICT);
    EXPECT_TEXT(state_of(store, "D", 0), "none");
    EXPECT_ANSWER(touch(store, "D", certificate("C1", "D", "current"), NULL), CVM_ANSWER_OK);
    EXPECT_ANSWER(
        touch(store, "D", certificate("C2", "D", "current"), certificate("C1", "D", "retiring")),
        CVM_ANSWER_CONFLICT);
    EXPECT_ANSWER(begin_load(store, 0, NULL, 0, loaded, 1, NULL), CVM_ANSWER_CONFLICT);
    EXPECT_TEXT(state_of(store, "D", 0), "current");
    EXPECT_TEXT(state_of(store, "D", 1), "none");
    store_end(store);
}

/* What it was taken for is not forgotten when that is carried out. */
static void a_reason_stays_once_it_retires(void)
{
    struct store *store = store_open();
    write_certificate(store, certificate("C1", "D", "current"));
    write_certificate(
        store, with_text(certificate("C1", "D", "retiring"), CVM_C_REASON, "keyCompromise"));
    write_certificate(
        store, with_text(certificate("C1", "D", "revoked"), CVM_C_REASON, "superseded"));
    EXPECT_TEXT(
        records_text(get_certificates(store, "D", 1)->found[0], CVM_C_REASON), "keyCompromise");
    store_end(store);
}

static void they_outlive_their_device(void)
{
    struct store *store = store_open();
    insert(store, device("D"));
    write_certificate(store, certificate("C1", "D", "current"));
    const cvm_record_t *row = certificate("C1", "D", "retiring");
    EXPECT_ANSWER(begin_remove(store, read_device(store, "D"), &row, 1), CVM_ANSWER_OK);
    EXPECT_TEXT(state_of(store, "D", 0), "retiring");
    store_end(store);
}

static void the_newest_come_first(void)
{
    struct store *store = store_open();
    for (int i = 0; i < 5; i++) {
        const char id[] = {"MAZBY"[i], 0};
        write_certificate(store, certificate(id, "D", "pending"));
    }
    write_certificate(store, certificate("OTHER", "D2", "current"));
    const cvm_op_t *op = get_certificates(store, "D", 10);
    EXPECT_NUMBER(op->count, 5);
    for (uint32_t i = 0; i < 5; i++)
        EXPECT_NUMBER(*records_text(op->found[i], CVM_C_CERTIFICATE_ID), "YBZAM"[i]);
    EXPECT_NUMBER(get_certificates(store, "D", 2)->count, 2);
    store_end(store);
}

/* However many are revoked. */
static void what_is_not_revoked_comes_first(void)
{
    struct store *store = store_open();
    write_certificate(store, certificate("OLD", "D", "current"));
    for (uint32_t i = 0; i < 70; i++)
        write_certificate(
            store, certificate(numbered("R", i), "D", i == 40 ? "retiring" : "revoked"));
    const cvm_op_t *op = get_certificates(store, "D", 10);
    EXPECT_NUMBER(op->count, 10);
    EXPECT_TEXT(records_text(op->found[0], CVM_C_CERTIFICATE_ID), "R040");
    EXPECT_TEXT(records_text(op->found[1], CVM_C_CERTIFICATE_ID), "OLD");
    EXPECT_TEXT(records_text(op->found[2], CVM_C_CERTIFICATE_ID), "R069");
    store_end(store);
}

/* As many as a device may have hanging on its thing, and one, each as large as can be. */
static void many_go_in_one_change(void)
{
    enum { MANY = 65 };
    static char pem[8193];
    const cvm_record_t *rows[MANY];
    memset(pem, 'P', sizeof pem - 1);
    struct store *store = store_open();
    for (uint32_t i = 0; i < MANY; i++)
        rows[i] = with_text(
            certificate(numbered("C", i), "D", i ? "retiring" : "current"), CVM_C_PEM, pem);
    EXPECT_ANSWER(begin_swap(store, NULL, device("D"), rows, MANY), CVM_ANSWER_OK);
    const cvm_op_t *op = get_certificates(store, "D", MANY + 1);
    EXPECT_NUMBER(op->count, MANY);
    for (uint32_t i = 0; i < MANY; i++)
        EXPECT_TEXT(records_text(op->found[i], CVM_C_PEM), pem);
    store_end(store);
}

const struct test TESTS_OF_CERTIFICATES[] = {
    {"one is updated by its id", one_is_updated_by_its_id},
    {"nothing is ever unrevoked", nothing_is_ever_unrevoked},
    {"a revoked one holds nothing up", a_revoked_one_holds_nothing_up},
    {"another device's row stays as it is", another_devices_row_stays_as_it_is},
    {"a device has one current", a_device_has_one_current},
    {"a device never has two current", a_device_never_has_two_current},
    {"a reason stays once it retires", a_reason_stays_once_it_retires},
    {"they outlive their device", they_outlive_their_device},
    {"the newest come first", the_newest_come_first},
    {"what is not revoked comes first", what_is_not_revoked_comes_first},
    {"many go in one change", many_go_in_one_change},
    {NULL, NULL},
};
