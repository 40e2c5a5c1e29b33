/* A store looks for what is wrong with it, page by page. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/at_exit.h"
#include "call.h"
#include "entry.h"
#include "instance.h"

struct check {
    cvm_op_t op;
    struct cvm_paging paging;
    cvm_finding_cb finding;
    cvm_done_cb callback;
    void *user_data;
};

static void check_finish(struct check *check, cvm_error_t *error)
{
    CVM_CALL_OUT(check->callback(check->user_data, error));
    cvm_error_free(error);
    cvm_op_clear(&check->op);
    free(check);
}

/* Cuts the text into lines. */
static void check_tell(const struct check *check, char *text)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        CVM_CALL_OUT(check->finding(check->user_data, line));
}

static void checked(cvm_op_t *op)
{
    struct check *check = CVM_CONTAINER(op, struct check, op);
    if (op->answer != CVM_ANSWER_OK) {
        check_finish(check, cvm_op_error(op));
        return;
    }
    if (op->outs[CVM_OUT_VALUE])
        check_tell(check, op->outs[CVM_OUT_VALUE]);
    int32_t more = cvm_paging_next(&check->paging, op);
    if (more > 0)
        cvm_store_check_page(op->cvm, op, check->paging.cursor, checked);
    else
        check_finish(
            check, more < 0 ? cvm_error_new(REASON_store_unavailable, CVM_GOES_ROUND) : NULL);
}

cvm_error_t *cvm_store_check(
    cvm_t *cvm, cvm_finding_cb finding, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, finding && callback);
    if (!error)
        error = cvm_check_ready(cvm);
    if (error)
        return error;
    if (!cvm->store.check)
        return cvm_error_new(REASON_conflict, "there is nothing to look for in a store '%s'",
            cvm->store_context.kind);
    struct check *check = calloc(1, sizeof *check);
    if (!check)
        return cvm_error_out_of_memory();
    check->finding = finding;
    check->callback = callback;
    check->user_data = user_data;
    cvm_store_check_page(cvm, &check->op, "", checked);
    return NULL;
}
