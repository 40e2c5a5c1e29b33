/*
 * Copying a store into another one while servers work with the first. The rooms, in the order of
 * the flow (the table of steps is in copy.c):
 *
 *   copy.c    the API, the steps, how a copy ends
 *   scan.c    going through one side's rows
 *   look.c    what the target has
 *   bulk.c    a pass over the source: what is new goes over in batches
 *   one.c     a device that has changed, with its certificates
 *   values.c  the small values
 *   verify.c  both sides, whole, against each other
 */
#ifndef CVM_CORE_COPY_H
#define CVM_CORE_COPY_H

#include "base/clock.h"
#include "call.h"
#include "instance.h"
#include "map.h"
#include "record.h"

/* The target is not to be used before the copy is complete. */
#define COPY_MARK "copying"

#define COPY_PAGE 2000 /* rows at a time */

/* A list of ids that grows. */
struct copy_ids {
    char **list;
    size_t count, size;
};

/* A sum over whole records that does not depend on their order. */
struct copy_sum {
    uint64_t parts[2], count;
};

struct copy_op {
    cvm_op_t op;
    struct copy *copy;
    void *owner; /* one.c's */
};

/* Takes a page's records, and goes on by cvm_copy_scan_on(). */
typedef void (*copy_page_fn)(struct copy *copy, cvm_op_t *op);

struct copy_scan {
    cvm_t *side;
    cvm_scan_t what;
    uint32_t limit;
    copy_page_fn page;
    struct cvm_paging paging;
};

struct copy {
    cvm_t *from, *to;
    struct copy_op from_op, to_op;
    int32_t finishes;
    cvm_copy_progress_cb progress;
    cvm_text_cb callback;
    void *user_data;
    void (*const *step)(struct copy *copy);
    cvm_error_t *error;
    int64_t frozen_version; /* 0: this copy has not frozen the source */
    int64_t mark_version;
    int32_t may_be_frozen;                   /* nobody knows: it was not answered */
    int32_t has_marked;                      /* this copy has, no earlier one */
    char stamp[CVM_RFC3339_SIZE];            /* the value of either, while it is put */
    uint32_t pass;                           /* from 1 */
    int32_t is_forced;                       /* what is refused is removed from the target first */
    int32_t is_last;                         /* this pass goes over a frozen source */
    uint64_t written, written_before, total; /* rows: in this pass, the one before, all before */
    struct copy_map devices, certificates;
    struct copy_scan scan;
    cvm_record_kind_t kind; /* of the rows that are gone through */
    /* bulk.c: what of a page of the source is new to the target. */
    cvm_record_t *page[COPY_PAGE];
    uint8_t rows[COPY_PAGE];
    uint32_t page_count, page_at, page_window;
    cvm_loading_t loading;
    /* one.c: devices to look at one by one, and those that could not be written yet. */
    struct copy_ids changed, deferred;
    size_t changed_at;
    uint32_t at_once; /* that are under way; of all else one operation is */
    void (*changed_done)(struct copy *copy);
    char why[CVM_OP_TEXT]; /* the last one could not be written */
    /* values.c */
    struct copy_ids names;
    size_t name_at;
    char *value;
    /* verify.c */
    struct copy_sum sums[2][2]; /* by side, devices and certificates */
};

/* --- copy.c ----------------------------------------------------------------------------------- */

/* The step is over. */
void cvm_copy_next(struct copy *copy);
/* The copy is, once no device is under way: thaws what it has frozen, and tells. Takes error over.
 */
void cvm_copy_fail(struct copy *copy, cvm_error_t *error);
void cvm_copy_end_failed(struct copy *copy);
/* 1, and it has failed, if op did not answer OK. */
int32_t cvm_copy_has_failed(struct copy *copy, const cvm_op_t *op);
/* Tells how far it has come. 1, and it has failed, if it is not to go on. */
int32_t cvm_copy_tell(struct copy *copy, const char *what, uint64_t count);
/* 0, or -1 without memory: then it has failed. */
int32_t cvm_copy_note(struct copy *copy, struct copy_ids *ids, const char *id);
/* Sorts them, and leaves each once. */
void cvm_copy_drop_duplicates(struct copy_ids *ids);
void cvm_copy_forget(struct copy_ids *ids);
/* Why an operation did not answer OK, for people. */
const char *cvm_copy_reason(const cvm_op_t *op);
/* An answer that is one row's affair, and no failure of the store's. */
int32_t cvm_copy_is_refusal(cvm_answer_t answer);
/* The copy that an operation is of. */
struct copy *cvm_copy_of(cvm_op_t *op);

/* --- The steps -------------------------------------------------------------------------------- */

void cvm_copy_look_for_devices(struct copy *copy);
void cvm_copy_look_for_certificates(struct copy *copy);
void cvm_copy_devices(struct copy *copy);
void cvm_copy_remove_devices(struct copy *copy);
void cvm_copy_certificates(struct copy *copy);
void cvm_copy_deferred(struct copy *copy);
void cvm_copy_values(struct copy *copy);
void cvm_copy_verify(struct copy *copy);

/* --- scan.c ----------------------------------------------------------------------------------- */

/* Goes through a scan of one side, page by page; page() is called with each. */
void cvm_copy_scan(
    struct copy *copy, cvm_t *side, cvm_scan_t what, uint32_t limit, copy_page_fn page);
/* Likewise through all devices or certificates, whose kind is copy->kind then. */
void cvm_copy_scan_rows(
    struct copy *copy, cvm_t *side, cvm_record_kind_t kind, uint32_t limit, copy_page_fn page);
/* Asks for the next page; calls done if there is none. */
void cvm_copy_scan_on(struct copy *copy, void (*done)(struct copy *copy));

/* --- look.c ----------------------------------------------------------------------------------- */

/* The map for that kind. */
struct copy_map *cvm_copy_map_of(struct copy *copy, cvm_record_kind_t kind);
/* What the map has of a row, for comparing only: a revision, or a certificate's state. */
int64_t cvm_copy_value_of(cvm_record_kind_t kind, const cvm_record_t *record);
/* The target has the row as the record is. 0, or -1 without memory. */
int32_t cvm_copy_remember(struct copy *copy, cvm_record_kind_t kind, const cvm_record_t *record);

/* --- bulk.c ----------------------------------------------------------------------------------- */

void cvm_copy_clear_page(struct copy *copy);

/* --- one.c ------------------------------------------------------------------------------------ */

/* Writes each of copy->changed as the source has it now, with its certificates; calls done. */
void cvm_copy_changed(struct copy *copy, void (*done)(struct copy *copy));

/* --- verify.c --------------------------------------------------------------------------------- */

void cvm_copy_sum_add(struct copy_sum *sum, cvm_record_kind_t kind, const cvm_record_t *record);

#endif
