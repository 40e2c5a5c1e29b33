/* A scan on its way: through a table (scan.c), or by hints (hints.c). */
#ifndef CVM_DYNAMODB_SCAN_H
#define CVM_DYNAMODB_SCAN_H

#include "store.h"

#define DYNAMO_MOST_HINTS 25 /* that are followed at once */

struct scan;

/* How a table is gone through. */
struct pages {
    enum dynamo_call call;
    enum table table;
    const char *request;             /* what follows the page's own members */
    void (*take)(struct scan *scan); /* what is done with a page */
};

struct scan {
    struct job job;
    const struct pages *pages; /* NULL: it goes by hints */
    cvm_scan_t what;
    int64_t before_ms;
    uint32_t limit, answered;
    cJSON *page;     /* the items that are looked into */
    cJSON *page_end; /* the key that the next page begins behind; NULL: it is the table's or the
                        shard's last */
    /* A table: */
    char pk[DYNAMO_KEY_SIZE],
        sk[DYNAMO_KEY_SIZE]; /* the first page begins behind; "": at the beginning */
    /* By hints: */
    uint32_t shard;
    char uid[DYNAMO_KEY_SIZE];      /* behind which it goes on; "": at the shard's beginning */
    char rest_uid[DYNAMO_KEY_SIZE]; /* a device that was answered in part: the rest of it is behind
                                       rest_id */
    char rest_id[65];
    const cJSON *stale[DYNAMO_MOST_HINTS]; /* hints of the page that lead nowhere */
    uint32_t stale_count, stale_at;
};

/* scan.c: asks for the next page, at most so many items of it; then scan->pages->take(scan). */
void cvm_dynamo_next_page(struct scan *scan, uint32_t items);
/* Writes where the next page begins, for who asks for it: "" for nowhere. 0, or -1 if that can't be
 * told: it has to go on. */
int32_t cvm_dynamo_place(const struct scan *scan, char place[CVM_CURSOR_SIZE]);
/* Takes such a place. */
void cvm_dynamo_begin_at(struct scan *scan, const char *place);
/* 1 if a uid could be one: the maker's table may hold anything. */
int32_t cvm_dynamo_is_uid(const char *uid);
/* Frees what it holds: a job's clear(). */
void cvm_dynamo_scan_clear(struct job *job);
/* Answers a record, which is taken; NULL: no memory. 0, or -1 without memory. */
int32_t cvm_dynamo_answer(struct scan *scan, cvm_record_t *record);
/* Ends it; cursor: "" if that was all. */
void cvm_dynamo_scan_end(struct scan *scan, const char *cursor);
/* 1 if it is to end where it is. */
int32_t cvm_dynamo_scan_is_over(const struct scan *scan);
/* Takes the page that was answered. 0, or -1 if it is none. */
int32_t cvm_dynamo_take_page(struct scan *scan);

/* hints.c */
void cvm_dynamo_follow_hints(struct scan *scan);

#endif
