/* The core's side of a store's verbs. */
#include "support/calls.h"

#include "instance.h"
#include "record.h"
#include "support/harness.h"

const cvm_host_t *const host = &CVM_HOST;

struct under_way {
    cvm_op_t op;
    struct call *call;
};

static void call_done(cvm_op_t *op)
{
    struct under_way *under_way = CVM_CONTAINER(op, struct under_way, op);
    struct call *call = under_way->call;
    call->answer = op->answer;
    for (uint32_t i = 0; i < op->record_count && i < MOST_FOUND; i++)
        call->found[call->count++] = cvm_op_take(op, i);
    call->version = op->numbers[CVM_OUT_VERSION];
    (void)snprintf(call->value, sizeof call->value, "%s",
        op->outs[CVM_OUT_VALUE] ? op->outs[CVM_OUT_VALUE] : "");
    call->is_done = 1;
    cvm_op_clear(op);
    free(under_way);
}

void forget(struct call *call)
{
    while (call->count)
        cvm_record_free(call->found[--call->count]);
}

static cvm_op_t *begin(cvm_t *cvm, struct call *call)
{
    struct under_way *under_way = calloc(1, sizeof *under_way);
    assert_non_null(under_way);
    forget(call);
    call->is_done = 0;
    under_way->call = call;
    cvm_op_start(&under_way->op, cvm, SIDE_STORE, "test", call_done);
    return &under_way->op;
}

cvm_change_t change_of(const cvm_record_t *as_read, const cvm_record_t *wanted,
    const cvm_record_t *const *certificates, uint32_t count)
{
    return cvm_change_of(as_read, wanted, certificates, count);
}

void begin_swap(cvm_t *cvm, struct call *call, const cvm_change_t *change)
{
    cvm->store.swap(cvm->store_context.self, begin(cvm, call), change);
}

void begin_remove(cvm_t *cvm, struct call *call, const cvm_change_t *change)
{
    cvm->store.remove(cvm->store_context.self, begin(cvm, call), change);
}

void begin_meta_get(cvm_t *cvm, struct call *call, const char *name)
{
    cvm->store.meta_get(cvm->store_context.self, begin(cvm, call), name);
}

void begin_meta_put(
    cvm_t *cvm, struct call *call, const char *name, int64_t version, const char *wanted)
{
    cvm->store.meta_put(cvm->store_context.self, begin(cvm, call), name, version, wanted);
}

void begin_get(cvm_t *cvm, struct call *call, const char *uid)
{
    cvm->store.get(cvm->store_context.self, begin(cvm, call), uid);
}

void begin_get_certificates(cvm_t *cvm, struct call *call, const char *uid)
{
    cvm->store.get_certificates(cvm->store_context.self, begin(cvm, call), uid, MOST_FOUND);
}

void begin_scan(cvm_t *cvm, struct call *call, cvm_scan_t what)
{
    cvm->store.scan(cvm->store_context.self, begin(cvm, call), what, "", 0, MOST_FOUND);
}

void begin_load(cvm_t *cvm, struct call *call, const cvm_loading_t *loading)
{
    cvm->store.load(cvm->store_context.self, begin(cvm, call), loading);
}

cvm_answer_t wait_for(struct call *call)
{
    turn_until(&call->is_done, 1);
    return call->answer;
}

cvm_answer_t wait_alone(cvm_t *cvm, struct call *call)
{
    turn_alone_until(cvm, &call->is_done);
    return call->answer;
}

cvm_answer_t get(cvm_t *cvm, const char *uid, struct call *call)
{
    begin_get(cvm, call, uid);
    return wait_for(call);
}

cvm_answer_t swap(cvm_t *cvm, const cvm_record_t *as_read, const cvm_record_t *wanted,
    const cvm_record_t *const *certificates, uint32_t count)
{
    struct call call = {.is_done = 0};
    const cvm_change_t change = change_of(as_read, wanted, certificates, count);
    begin_swap(cvm, &call, &change);
    return wait_for(&call);
}

cvm_answer_t remove_device(cvm_t *cvm, const cvm_record_t *as_read,
    const cvm_record_t *const *certificates, uint32_t count)
{
    struct call call = {.is_done = 0};
    const cvm_change_t change = change_of(as_read, NULL, certificates, count);
    begin_remove(cvm, &call, &change);
    return wait_for(&call);
}

cvm_answer_t meta_put(cvm_t *cvm, const char *name, int64_t *version, const char *wanted)
{
    struct call call = {.is_done = 0};
    begin_meta_put(cvm, &call, name, *version, wanted);
    cvm_answer_t answer = wait_for(&call);
    if (answer == CVM_ANSWER_OK)
        *version = call.version;
    forget(&call);
    return answer;
}

cvm_answer_t give_key(
    cvm_t *cvm, const char *uid, const char *key, cvm_record_t *before, cvm_record_t *row)
{
    struct call call = {.is_done = 0};
    const cvm_record_t *rows[2] = {before ? before : row, row};
    assert_int_equal(get(cvm, uid, &call), CVM_ANSWER_OK);
    cvm_record_t *wanted = host->record_copy(call.found[0]);
    assert_int_equal(host->set_text(wanted, CVM_D_PUBLIC_KEY_SHA256, key), 0);
    cvm_answer_t answer = swap(cvm, call.found[0], wanted, rows, before ? 2 : 1);
    host->record_free(wanted);
    host->record_free(row);
    host->record_free(before);
    forget(&call);
    return answer;
}
