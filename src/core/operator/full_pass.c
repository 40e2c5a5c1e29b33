/* A full pass goes through all devices, a page at a time, for what no scan of the store tells:
 * certificates that hang on their things and that no row knows, flags that others set; and then has
 * the platform look for certificates that a search did not come as far as. How far it has come is
 * kept in the store: one that is cut short is gone on with by the next, as a Lambda's has to be. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "audit.h"
#include "base/at_exit.h"
#include "call.h"
#include "due.h"
#include "entry.h"
#include "instance.h"
#include "record.h"
#include "registration/inherited.h"

#define PAGE       256
#define MOST_KNOWN 256         /* of one device */
#define MARK       "full_pass" /* the value's name; it is a scan's cursor */

struct walk {
    cvm_op_t op;
    cvm_t *cvm;
    cvm_found_cb callback;
    void *user_data;
    int32_t dry_run, has_more;
    struct cvm_paging paging;
    int64_t version;          /* of the mark; 0: there is none */
    int32_t is_resumed;       /* nothing was scanned yet from where an earlier one had come to */
    cvm_record_t *page[PAGE]; /* devices; NULL once they were seen */
    uint32_t count, at;
    cvm_record_t *known[MOST_KNOWN]; /* rows of the device that is looked at */
    uint32_t known_count;
    cvm_record_t *found[CVM_MOST_CERTIFICATES], *wanted;
    const cvm_record_t *changed[CVM_MOST_CERTIFICATES];
    uint32_t found_count, changed_count;
    cvm_change_t change;
    uint64_t total;
    cvm_error_t *error; /* the first: others are looked at all the same */
};

static void walk_device(struct walk *walk);

static void walk_finish(struct walk *walk, cvm_error_t *error)
{
    if (!walk->error)
        walk->error = error;
    else
        cvm_error_free(error);
    CVM_CALL_OUT(walk->callback(walk->user_data, walk->error, walk->total));
    cvm_error_free(walk->error);
    for (uint32_t i = 0; i < walk->count; i++)
        cvm_record_free(walk->page[i]);
    cvm_op_clear(&walk->op);
    free(walk);
}

static void walk_forget(struct walk *walk)
{
    while (walk->found_count)
        cvm_record_free(walk->found[--walk->found_count]);
    cvm_record_free(walk->wanted);
    walk->wanted = NULL;
    while (walk->known_count)
        cvm_record_free(walk->known[--walk->known_count]);
    walk->changed_count = 0;
    cvm_record_free(walk->page[walk->at]);
    walk->page[walk->at++] = NULL;
}

/* What failed of a device is told at the end. */
static void walk_note(struct walk *walk, const cvm_error_t *error)
{
    if (error && !walk->error)
        walk->error = cvm_error_new(error->reason, "%s: %s",
            cvm_record_text(walk->page[walk->at], CVM_D_DEVICE_UID), cvm_error_text(error));
}

static void walk_carried_out(void *user_data, const cvm_error_t *error)
{
    struct walk *walk = user_data;
    walk_note(walk, error);
    walk_forget(walk);
    walk_device(walk);
}

/* On to the next device. Of this one is carried out what it says of itself: somebody may have
 * disabled it without the store, whose scans know nothing of that then. */
static void walk_on(struct walk *walk, cvm_error_t *error)
{
    const cvm_record_t *device = walk->page[walk->at];
    walk_note(walk, error);
    cvm_error_free(error);
    if (!walk->dry_run && CVM_DUE_KINDS[DUE_SUSPENSION].is_due(device, 0))
        cvm_due_device(
            walk->cvm, cvm_record_text(device, CVM_D_DEVICE_UID), walk_carried_out, walk);
    else
        walk_carried_out(walk, NULL);
}

static void walk_written(cvm_op_t *op)
{
    struct walk *walk = CVM_CONTAINER(op, struct walk, op);
    if (op->answer == CVM_ANSWER_OK) {
        walk->total += walk->changed_count;
        cvm_audit(walk->cvm, "certificates_found",
            cvm_record_text(walk->page[walk->at], CVM_D_DEVICE_UID), NULL, NULL, NULL,
            "made by another system, and hung on its thing");
    }
    walk_on(walk, cvm_op_error(op));
}

/* What is found of a disabled device becomes due for suspension. 0, or -1 without memory. */
static int32_t walk_collect(struct walk *walk)
{
    int32_t failed = 0;
    walk->wanted = cvm_record_copy(walk->page[walk->at]);
    for (uint32_t i = 0; i < walk->found_count && walk->wanted && !failed; i++) {
        cvm_record_t *found = walk->found[i];
        if (cvm_record_is_state(found, "current"))
            failed = cvm_record_set_text(
                walk->wanted, CVM_D_CERTIFICATE_ID, cvm_record_text(found, CVM_C_CERTIFICATE_ID));
        walk->changed[walk->changed_count++] = found;
    }
    if (walk->changed_count && !failed && !cvm_record_number(walk->wanted, CVM_D_IS_REVOKED) &&
        !cvm_record_number(walk->wanted, CVM_D_IS_ENABLED))
        failed = cvm_record_set_number(walk->wanted, CVM_D_IS_SUSPENDED, 0);
    return failed || !walk->wanted ? -1 : 0;
}

static void walk_found(cvm_op_t *op)
{
    struct walk *walk = CVM_CONTAINER(op, struct walk, op);
    if (op->answer != CVM_ANSWER_OK) {
        walk_on(walk, op->answer == CVM_ANSWER_NOT_FOUND ? NULL : cvm_op_error(op));
        return;
    }
    int32_t count = cvm_inherit_take(op, walk->page[walk->at], walk->found, CVM_MOST_CERTIFICATES);
    walk->found_count = count < 0 ? 0 : (uint32_t)count;
    if (count < 0) {
        walk_on(walk, cvm_error_new(REASON_platform_error,
                          "what hangs on its thing can't be read, or is too much"));
    } else if (walk_collect(walk)) {
        walk_on(walk, cvm_error_out_of_memory());
    } else if (!walk->changed_count || walk->dry_run) {
        walk->total += walk->changed_count;
        walk_on(walk, NULL);
    } else {
        walk->change =
            cvm_change_of(walk->page[walk->at], walk->wanted, walk->changed, walk->changed_count);
        cvm_store_swap(walk->cvm, op, &walk->change, walk_written);
    }
}

static void walk_got_rows(cvm_op_t *op)
{
    struct walk *walk = CVM_CONTAINER(op, struct walk, op);
    if (op->answer != CVM_ANSWER_OK) {
        walk_on(walk, cvm_op_error(op));
        return;
    }
    if (op->record_count == MOST_KNOWN) {
        walk_on(walk, cvm_error_new(REASON_conflict,
                          "it has too many certificates to tell which of them are new"));
        return;
    }
    for (uint32_t i = 0; i < op->record_count; i++)
        walk->known[walk->known_count++] = cvm_op_take(op, i);
    cvm_inherit_ask(
        walk->cvm, op, walk->page[walk->at], walk->known, walk->known_count, walk_found);
}

static void walk_scan(struct walk *walk);

static void walk_scanned(cvm_op_t *op)
{
    struct walk *walk = CVM_CONTAINER(op, struct walk, op);
    int32_t was_resumed = walk->is_resumed;
    walk->is_resumed = 0;
    if (op->answer == CVM_ANSWER_INVALID && was_resumed) { /* the mark is of another store, say */
        walk->paging = (struct cvm_paging){0};
        walk_scan(walk);
        return;
    }
    if (op->answer != CVM_ANSWER_OK) {
        walk_finish(walk, cvm_op_error(op));
        return;
    }
    walk->at = walk->count = 0;
    for (uint32_t i = 0; i < op->record_count; i++)
        walk->page[walk->count++] = cvm_op_take(op, i);
    int32_t more = cvm_paging_next(&walk->paging, op);
    walk->has_more = more > 0;
    if (more < 0 && !walk->error)
        walk->error = cvm_error_new(REASON_store_unavailable, CVM_GOES_ROUND);
    walk_device(walk);
}

static void walk_scan(struct walk *walk)
{
    cvm_store_scan(
        walk->cvm, &walk->op, CVM_SCAN_DEVICES, walk->paging.cursor, 0, PAGE, walk_scanned);
}

/* --- How far it has come ---------------------------------------------------------------------- */

static void walk_marked(cvm_op_t *op)
{
    struct walk *walk = CVM_CONTAINER(op, struct walk, op);
    /* Another one is at it too, or the store can't: then the next pass begins where that one was.
     */
    walk->version = op->answer == CVM_ANSWER_OK ? op->numbers[CVM_OUT_VERSION] : -1;
    walk_scan(walk);
}

/* Before the next page. */
static void walk_mark(struct walk *walk)
{
    if (walk->dry_run || walk->version < 0)
        walk_scan(walk);
    else
        cvm_store_meta_put(
            walk->cvm, &walk->op, MARK, walk->version, walk->paging.cursor, walk_marked);
}

/* Behind the devices: what no device's thing leads to. */
static void walk_lost(cvm_op_t *op)
{
    struct walk *walk = CVM_CONTAINER(op, struct walk, op);
    if (op->answer != CVM_ANSWER_OK)
        walk_finish(walk, cvm_op_error(op));
    else if (!op->outs[CVM_OUT_CURSOR])
        walk_finish(walk, NULL);
    else if (cvm_is_started(walk->cvm))
        cvm_platform_find_lost(walk->cvm, op, walk_lost);
    else
        walk_finish(walk, cvm_error_new(REASON_unknown, "the instance stops"));
}

static void walk_unmarked(cvm_op_t *op)
{
    struct walk *walk = CVM_CONTAINER(op, struct walk, op);
    cvm_platform_find_lost(walk->cvm, &walk->op, walk_lost);
}

/* All devices were seen. */
static void walk_end(struct walk *walk)
{
    if (walk->dry_run)
        walk_finish(walk, NULL);
    else if (walk->version > 0)
        cvm_store_meta_put(walk->cvm, &walk->op, MARK, walk->version, NULL, walk_unmarked);
    else
        cvm_platform_find_lost(walk->cvm, &walk->op, walk_lost);
}

static void walk_got_mark(cvm_op_t *op)
{
    struct walk *walk = CVM_CONTAINER(op, struct walk, op);
    const char *cursor = op->answer == CVM_ANSWER_OK ? op->outs[CVM_OUT_VALUE] : NULL;
    if (cursor) {
        (void)snprintf(walk->paging.cursor, sizeof walk->paging.cursor, "%s", cursor);
        walk->version = op->numbers[CVM_OUT_VERSION];
        walk->is_resumed = 1;
    }
    walk_scan(walk);
}

/* --- One device after the other --------------------------------------------------------------- */

/* The next device that may have any. */
static void walk_device(struct walk *walk)
{
    while (walk->at < walk->count && !cvm_has_thing(walk->page[walk->at]))
        walk_forget(walk);
    if (!cvm_is_started(walk->cvm))
        walk_finish(walk, cvm_error_new(REASON_unknown, "the instance stops"));
    else if (walk->at < walk->count)
        cvm_store_get_certificates(walk->cvm, &walk->op,
            cvm_record_text(walk->page[walk->at], CVM_D_DEVICE_UID), MOST_KNOWN, walk_got_rows);
    else if (walk->has_more)
        walk_mark(walk);
    else
        walk_end(walk);
}

cvm_error_t *cvm_find_unknown(cvm_t *cvm, int32_t dry_run, cvm_found_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, callback != NULL);
    if (!error)
        error = cvm_check_ready(cvm);
    if (error)
        return error;
    if (!cvm->platform.find_certificates)
        return cvm_error_new(REASON_conflict,
            "on this platform there are no certificates beside those in the store");
    struct walk *walk = calloc(1, sizeof *walk);
    if (!walk)
        return cvm_error_out_of_memory();
    walk->cvm = cvm;
    walk->dry_run = dry_run;
    walk->callback = callback;
    walk->user_data = user_data;
    if (dry_run)
        walk_scan(walk);
    else
        cvm_store_meta_get(cvm, &walk->op, MARK, walk_got_mark);
    return NULL;
}
