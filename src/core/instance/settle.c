/* cvm_settle(): tells once nothing runs any more. */
#include <stddef.h>
#include <stdlib.h>

#include "base/at_exit.h"
#include "entry.h"
#include "instance.h"

struct cvm_settling {
    struct cvm_settling *next;
    struct cvm_waiter waiter;
};

static void tell_first(cvm_t *cvm)
{
    struct cvm_settling *settling = cvm->settling;
    struct cvm_waiter waiter = settling->waiter;
    cvm->settling = settling->next;
    free(settling);
    CVM_CALL_OUT(waiter.callback(waiter.user_data, NULL));
}

void cvm_settle_tell(cvm_t *cvm)
{
    while (cvm->settling)
        tell_first(cvm);
}

/* What began since it was posted, and what one that is told begins, is waited for as well: one is
 * told at a turn of the loop. */
static void settled(struct cvm_mail *mail)
{
    cvm_t *cvm = CVM_CONTAINER(mail, cvm_t, settled);
    cvm->is_settle_posted = 0;
    if (cvm->running || !cvm->settling)
        return;
    tell_first(cvm);
    if (!cvm->running)
        cvm_settle_soon(cvm);
}

void cvm_settle_soon(cvm_t *cvm)
{
    if (!cvm->settling || cvm->is_settle_posted)
        return;
    cvm->is_settle_posted = 1;
    cvm->settled.open = settled;
    cvm_loop_post(cvm->loop, &cvm->settled);
}

cvm_error_t *cvm_settle(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, callback != NULL);
    if (error)
        return error;
    if (cvm->state >= STATE_STOPPING)
        return cvm_error_new(REASON_conflict, "the instance was stopped already");
    struct cvm_settling *settling = malloc(sizeof *settling), **link = &cvm->settling;
    if (!settling)
        return cvm_error_out_of_memory();
    *settling = (struct cvm_settling){NULL, {callback, user_data}};
    while (*link)
        link = &(*link)->next;
    *link = settling;
    if (!cvm->running)
        cvm_settle_soon(cvm);
    return NULL;
}
