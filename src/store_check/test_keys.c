/* Public keys: no two devices have the same one. */
#include "check.h"

#define NOT_ITS "it says that it does not look after keys"

/* Gives the device a key with its certificate, and writes another one before that, which may be
 * NULL. */
static cvm_op_t *give_key(struct store *store, const char *uid, const char *key,
    cvm_record_t *before, const char *id, const char *state)
{
    cvm_record_t *row = with_text(certificate(id, uid, state), CVM_C_PUBLIC_KEY_SHA256, key);
    const cvm_record_t *rows[] = {before ? before : row, row}, *read = read_device(store, uid);
    cvm_record_t *wanted = with_text(copy_of(read), CVM_D_PUBLIC_KEY_SHA256, key);
    return wait_for(begin_swap(store, read, wanted, rows, before ? 2 : 1));
}

static cvm_record_t *of_key(const char *id, const char *uid, const char *state, const char *key)
{
    return with_text(certificate(id, uid, state), CVM_C_PUBLIC_KEY_SHA256, key);
}

/* The devices A and B. */
static struct store *open_with_two(void)
{
    store_must_be(CVM_STORE_UNIQUE_KEYS, NOT_ITS);
    struct store *store = store_open();
    insert(store, device("A"));
    insert(store, device("B"));
    return store;
}

/* A's key was k1, whose certificate retires, and is k2. */
static struct store *open_with_a_retiring_key(void)
{
    struct store *store = open_with_two();
    EXPECT_ANSWER(give_key(store, "A", "k1", NULL, "C1", "current"), CVM_ANSWER_OK);
    EXPECT_ANSWER(give_key(store, "A", "k2", of_key("C1", "A", "retiring", "k1"), "C2", "current"),
        CVM_ANSWER_OK);
    return store;
}

static void one_is_one_devices(void)
{
    struct store *store = open_with_two();
    EXPECT_ANSWER(give_key(store, "A", "key", NULL, "C1", "pending"), CVM_ANSWER_OK);
    EXPECT_ANSWER(give_key(store, "B", "key", NULL, "C2", "pending"), CVM_ANSWER_KEY_IN_USE);
    EXPECT_TEXT(state_of(store, "B", 0), "none");
    EXPECT_TEXT(records_text(read_device(store, "B"), CVM_D_PUBLIC_KEY_SHA256), "");
    EXPECT_ANSWER(give_key(store, "A", "key", NULL, "C3", "pending"), CVM_ANSWER_OK); /* its own */
    EXPECT_ANSWER(
        give_key(store, "B", "", NULL, "C4", "pending"), CVM_ANSWER_OK); /* none is none */
    EXPECT_ANSWER(begin_remove(store, read_device(store, "A"), NULL, 0), CVM_ANSWER_OK);
    EXPECT_ANSWER(give_key(store, "B", "key", NULL, "C5", "pending"), CVM_ANSWER_OK);
    store_end(store);
}

static void one_is_kept_until_its_certificate_has_retired(void)
{
    struct store *store = open_with_a_retiring_key();
    EXPECT_ANSWER(give_key(store, "B", "k1", NULL, "C3", "current"), CVM_ANSWER_KEY_IN_USE);
    EXPECT_TEXT(state_of(store, "B", 0), "none");
    write_certificate(
        store, with_text(of_key("C1", "A", "revoked", "k1"), CVM_C_REASON, "superseded"));
    EXPECT_ANSWER(give_key(store, "B", "k1", NULL, "C3", "current"), CVM_ANSWER_OK);
    EXPECT_ANSWER(give_key(store, "A", "k1", of_key("C2", "A", "retiring", "k2"), "C4", "current"),
        CVM_ANSWER_KEY_IN_USE);
    EXPECT_TEXT(state_of(store, "A", 0), "current"); /* nothing of it */
    store_end(store);
}

static void a_device_may_take_its_own_again(void)
{
    struct store *store = open_with_a_retiring_key();
    EXPECT_ANSWER(give_key(store, "A", "k1", of_key("C2", "A", "retiring", "k2"), "C3", "current"),
        CVM_ANSWER_OK);
    EXPECT_ANSWER(give_key(store, "B", "k2", NULL, "C4", "current"), CVM_ANSWER_KEY_IN_USE);
    store_end(store);
}

static void one_is_free_once_its_device_is_gone(void)
{
    struct store *store = open_with_a_retiring_key();
    EXPECT_ANSWER(begin_remove(store, read_device(store, "A"), NULL, 0), CVM_ANSWER_OK);
    EXPECT_ANSWER(give_key(store, "B", "k1", NULL, "C3", "current"), CVM_ANSWER_OK);
    /* One whose certificate comes to be known as it goes. */
    insert(store, with_text(device("C"), CVM_D_PUBLIC_KEY_SHA256, "k3"));
    const cvm_record_t *late[] = {of_key("C4", "C", "retiring", "k3")};
    EXPECT_ANSWER(begin_remove(store, read_device(store, "C"), late, 1), CVM_ANSWER_OK);
    insert(store, with_text(device("D"), CVM_D_PUBLIC_KEY_SHA256, "k3"));
    store_end(store);
}

/* A's certificate is in that state for keyCompromise: neither A nor another one gets its key. */
static void expect_nobodys(const char *state)
{
    struct store *store = open_with_two();
    EXPECT_ANSWER(give_key(store, "A", "k1", NULL, "C1", "current"), CVM_ANSWER_OK);
    write_certificate(
        store, with_text(of_key("C1", "A", state, "k1"), CVM_C_REASON, "keyCompromise"));
    EXPECT_ANSWER(give_key(store, "A", "k1", NULL, "C2", "current"), CVM_ANSWER_KEY_IN_USE);
    EXPECT_ANSWER(begin_remove(store, read_device(store, "A"), NULL, 0), CVM_ANSWER_OK);
    EXPECT_ANSWER(give_key(store, "B", "k1", NULL, "C2", "current"), CVM_ANSWER_KEY_IN_USE);
    store_end(store);
}

static void a_compromised_one_is_nobodys(void)
{
    expect_nobodys("revoked");
}

/* As soon as that is known, before it is carried out. */
static void one_that_is_being_revoked_for_it_is_nobodys(void)
{
    expect_nobodys("retiring");
}

/* One device with a stolen CSR is nobody else's affair. */
static void one_in_use_spoils_no_other_change(void)
{
    enum { MANY = 40, BAD = 13 };
    static cvm_op_t *ops[MANY];
    struct store *store = open_with_two();
    EXPECT_ANSWER(give_key(store, "A", "key", NULL, "C1", "current"), CVM_ANSWER_OK);
    for (uint32_t i = 0; i < MANY; i++) {
        cvm_record_t *wanted = device(numbered("D", i));
        with_text(wanted, CVM_D_PUBLIC_KEY_SHA256, i == BAD ? "key" : numbered("key", i));
        ops[i] = begin_swap(store, NULL, wanted, NULL, 0);
    }
    for (int i = 0; i < MANY; i++)
        EXPECT_ANSWER(ops[i], i == BAD ? CVM_ANSWER_KEY_IN_USE : CVM_ANSWER_OK);
    store_end(store);
}

const struct test TESTS_OF_KEYS[] = {
    {"one is one device's", one_is_one_devices},
    {"one is kept until its certificate has retired",
        one_is_kept_until_its_certificate_has_retired},
    {"a device may take its own again", a_device_may_take_its_own_again},
    {"one is free once its device is gone", one_is_free_once_its_device_is_gone},
    {"a compromised one is nobody's", a_compromised_one_is_nobodys},
    {"one that is being revoked for it is nobody's", one_that_is_being_revoked_for_it_is_nobodys},
    {"one in use spoils no other change", one_in_use_spoils_no_other_change},
    {NULL, NULL},
};
