/* A store that is open, and its verbs. */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

struct store {
    struct cvm_context_s context;
    void *self;
};

#define TURN_MS 50

/* --- Life ------------------------------------------------------------------------------------- */

struct store *store_new(void)
{
    char error[CHECK_TEXT] = "";
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        CHECK_VIOLATION("out of memory");
    loop_turn(0);
    cvm_answer_t answer = module.ops.create(&CHECK_HOST, &store->context, module.user_data,
        module.location, &store->self, error, sizeof error);
    if (answer != CVM_ANSWER_OK || !store->self)
        CHECK_VIOLATION("create() answers %s: %s", ops_answer_name(answer), error);
    return store;
}

cvm_op_t *begin_open(struct store *store, uint32_t how)
{
    cvm_op_t *op = ops_new(store, VERB_OPEN);
    module.ops.open(store->self, op, how);
    return op;
}

struct store *store_open(void)
{
    struct store *store = store_new();
    cvm_op_t *op = wait_for(begin_open(store, CVM_OPEN_SERVER));
    if (op->answer == CVM_ANSWER_CONFLICT && !store_is(CVM_STORE_SHARED))
        op = begin_open(store, 0);
    EXPECT_ANSWER(op, CVM_ANSWER_OK);
    return store;
}

cvm_op_t *begin_close(struct store *store)
{
    cvm_op_t *op = ops_new(store, VERB_CLOSE);
    module.ops.close(store->self, op);
    return op;
}

void store_destroy(struct store *store)
{
    uint32_t left = ops_under_way(store);
    if (left)
        check_fail(NULL, 0, "close has completed, and %u operations have not", left);
    loop_forget(&store->context);
    module.ops.destroy(store->self);
    loop_turn(0);
    free(store);
}

void store_end(struct store *store)
{
    EXPECT_ANSWER(begin_close(store), CVM_ANSWER_OK);
    store_destroy(store);
}

bool store_is(uint32_t flag)
{
    return (module.ops.flags & flag) != 0;
}

void store_must_be(uint32_t flag, const char *why_not)
{
    if (!store_is(flag))
        check_skip(why_not);
}

cvm_op_t *wait_for(cvm_op_t *op)
{
    while (!op->is_done)
        loop_turn(TURN_MS);
    return op;
}

/* --- Records ---------------------------------------------------------------------------------- */

static cvm_record_t *store_made(cvm_record_t *record)
{
    if (!record)
        CHECK_VIOLATION("out of memory");
    records_hand_over(record, OWNER_TEST);
    return record;
}

cvm_record_t *device(const char *uid)
{
    cvm_record_t *record = store_made(records_new(CVM_RECORD_DEVICE));
    return with_number(
        with_text(with_text(record, CVM_D_DEVICE_UID, uid), CVM_D_DEVICE_TOKEN, "token"),
        CVM_D_IS_ENABLED, 1);
}

cvm_record_t *certificate(const char *id, const char *uid, const char *state)
{
    cvm_record_t *record = store_made(records_new(CVM_RECORD_CERTIFICATE));
    with_text(with_text(record, CVM_C_CERTIFICATE_ID, id), CVM_C_DEVICE_UID, uid);
    with_text(with_text(record, CVM_C_STATE, state), CVM_C_PEM, "PEM");
    return with_number(record, CVM_C_NOT_AFTER, NOW + DAY_MS);
}

cvm_record_t *with_text(cvm_record_t *record, uint32_t field, const char *value)
{
    EXPECT(records_set_text(record, field, value) == 0);
    return record;
}

cvm_record_t *with_number(cvm_record_t *record, uint32_t field, int64_t value)
{
    EXPECT(records_set_number(record, field, value) == 0);
    return record;
}

cvm_record_t *copy_of(const cvm_record_t *record)
{
    return store_made(records_copy(record));
}

const char *numbered(const char *word, uint32_t number)
{
    static char texts[16][64];
    static uint32_t next;
    char *text = texts[next++ % LENGTH(texts)];
    (void)snprintf(text, sizeof *texts, "%s%03u", word, number);
    return text;
}

/* --- Verbs that are begun --------------------------------------------------------------------- */

static const cvm_record_t *const *store_hand_records(
    cvm_op_t *op, const cvm_record_t *const *records, uint32_t count)
{
    const cvm_record_t **handed = calloc(count + 1, sizeof(cvm_record_t *));
    if (!handed)
        CHECK_VIOLATION("out of memory");
    for (uint32_t i = 0; i < count; i++)
        handed[i] = ops_hand_record(op, records[i]);
    return handed;
}

static cvm_op_t *store_change(struct store *store, enum verb verb, const cvm_record_t *as_read,
    const cvm_record_t *wanted, const cvm_record_t *const *certificates, uint32_t count)
{
    cvm_op_t *op = ops_new(store, verb);
    op->change = (cvm_change_t){.size = sizeof op->change,
        .certificate_count = count,
        .as_read = ops_hand_record(op, as_read),
        .wanted = ops_hand_record(op, wanted),
        .certificates = store_hand_records(op, certificates, count)};
    return op;
}

cvm_op_t *begin_swap(struct store *store, const cvm_record_t *as_read, const cvm_record_t *wanted,
    const cvm_record_t *const *certificates, uint32_t count)
{
    cvm_op_t *op = store_change(store, VERB_SWAP, as_read, wanted, certificates, count);
    module.ops.swap(store->self, op, &op->change);
    return op;
}

cvm_op_t *begin_remove(struct store *store, const cvm_record_t *as_read,
    const cvm_record_t *const *certificates, uint32_t count)
{
    cvm_op_t *op = store_change(store, VERB_REMOVE, as_read, NULL, certificates, count);
    module.ops.remove(store->self, op, &op->change);
    return op;
}

cvm_op_t *begin_load(struct store *store, uint32_t flags, cvm_record_t *const *devices,
    uint32_t count, cvm_record_t *const *certificates, uint32_t certificate_count, uint8_t *rows)
{
    cvm_op_t *op = ops_new(store, VERB_LOAD);
    op->rows = rows;
    op->loading = (cvm_loading_t){.size = sizeof op->loading,
        .flags = flags,
        .count = count,
        .certificate_count = certificate_count,
        .devices = (cvm_record_t *const *)store_hand_records(
            op, (const cvm_record_t *const *)devices, count),
        .certificates =
            store_hand_records(op, (const cvm_record_t *const *)certificates, certificate_count),
        .rows = count ? calloc(count, 1) : NULL};
    if (count && !op->loading.rows)
        CHECK_VIOLATION("out of memory");
    module.ops.load(store->self, op, &op->loading);
    return op;
}

static cvm_op_t *store_named(struct store *store, enum verb verb, const char *name)
{
    cvm_op_t *op = ops_new(store, verb);
    op->name = ops_hand_text(name);
    return op;
}

cvm_op_t *begin_get(struct store *store, const char *uid)
{
    cvm_op_t *op = store_named(store, VERB_GET, uid);
    module.ops.get(store->self, op, op->name);
    return op;
}

cvm_op_t *begin_meta_put(struct store *store, const char *name, int64_t version, const char *wanted)
{
    cvm_op_t *op = store_named(store, VERB_META_PUT, name);
    op->value = ops_hand_text(wanted);
    module.ops.meta_put(store->self, op, op->name, version, op->value);
    return op;
}

/* --- Verbs that are waited for ---------------------------------------------------------------- */

cvm_op_t *ready(struct store *store)
{
    cvm_op_t *op = ops_new(store, VERB_READY);
    module.ops.ready(store->self, op);
    return wait_for(op);
}

cvm_op_t *now(struct store *store)
{
    cvm_op_t *op = ops_new(store, VERB_NOW);
    module.ops.now(store->self, op);
    return wait_for(op);
}

cvm_op_t *get(struct store *store, const char *uid)
{
    return wait_for(begin_get(store, uid));
}

cvm_op_t *get_certificates(struct store *store, const char *uid, uint32_t limit)
{
    cvm_op_t *op = store_named(store, VERB_GET_CERTIFICATES, uid);
    op->limit = limit;
    module.ops.get_certificates(store->self, op, op->name, limit);
    return EXPECT_ANSWER(op, CVM_ANSWER_OK);
}

cvm_op_t *scan(
    struct store *store, cvm_scan_t what, const char *cursor, int64_t before_ms, uint32_t limit)
{
    cvm_op_t *op = store_named(store, VERB_SCAN, cursor);
    op->what = what;
    op->limit = limit;
    module.ops.scan(store->self, op, what, op->name, before_ms, limit);
    return wait_for(op);
}

cvm_op_t *find(struct store *store, cvm_find_by_t by, const char *value)
{
    cvm_op_t *op = store_named(store, VERB_FIND, value);
    module.ops.find(store->self, op, by, op->name);
    return wait_for(op);
}

cvm_op_t *meta_get(struct store *store, const char *name)
{
    cvm_op_t *op = store_named(store, VERB_META_GET, name);
    module.ops.meta_get(store->self, op, op->name);
    return wait_for(op);
}

cvm_op_t *meta_put(struct store *store, const char *name, int64_t version, const char *wanted)
{
    return wait_for(begin_meta_put(store, name, version, wanted));
}

cvm_op_t *swap(struct store *store, const cvm_record_t *as_read, const cvm_record_t *wanted,
    const cvm_record_t *row)
{
    return wait_for(begin_swap(store, as_read, wanted, &row, row != NULL));
}

/* --- What is expected as well ----------------------------------------------------------------- */

const cvm_record_t *read_device(struct store *store, const char *uid)
{
    return EXPECT_ANSWER(begin_get(store, uid), CVM_ANSWER_OK)->found[0];
}

void insert(struct store *store, cvm_record_t *record)
{
    EXPECT_ANSWER(swap(store, NULL, record, NULL), CVM_ANSWER_OK);
}

void write_certificate(struct store *store, cvm_record_t *row)
{
    EXPECT_ANSWER(swap(store, NULL, NULL, row), CVM_ANSWER_OK);
}

const char *state_of(struct store *store, const char *uid, uint32_t i)
{
    const cvm_op_t *op = get_certificates(store, uid, 64);
    return i < op->count ? records_text(op->found[i], CVM_C_STATE) : "none";
}

const char *cursor_of(const cvm_op_t *op)
{
    return op->outs[CVM_OUT_CURSOR] ? op->outs[CVM_OUT_CURSOR] : "";
}

uint32_t scan_all(struct store *store, cvm_scan_t what, int64_t before_ms, uint32_t page,
    void (*found)(void *argument, const cvm_record_t *record), void *argument)
{
    const char *cursor = "";
    uint32_t count = 0;
    do {
        const cvm_op_t *op =
            EXPECT_ANSWER(scan(store, what, cursor, before_ms, page), CVM_ANSWER_OK);
        for (uint32_t i = 0; found && i < op->count; i++)
            found(argument, op->found[i]);
        count += op->count;
        cursor = cursor_of(op);
    } while (*cursor);
    return count;
}
