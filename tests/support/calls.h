/* A store's verbs, called as the core calls them. What they are told and answer is plugin.h's, so
 * that what is said with it of a store can be said of any. */
#ifndef CVM_TESTS_CALLS_H
#define CVM_TESTS_CALLS_H

#include "support/test.h"

#include "cvm/cvm.h"
#include "cvm/plugin.h"

#define MOST_FOUND 512

/* What plugins are handed. */
extern const cvm_host_t *const host;

/* A call and its answer. It may be used again; forget() what it has last. */
struct call {
    int is_done;
    cvm_answer_t answer;
    cvm_record_t *found[MOST_FOUND];
    uint32_t count;
    int64_t version;
    char value[256]; /* as much of it as there is room for */
};

void forget(struct call *call);

cvm_change_t change_of(const cvm_record_t *as_read, const cvm_record_t *wanted,
    const cvm_record_t *const *certificates, uint32_t count);

/* Several may be under way, each of which is waited for. */
void begin_swap(cvm_t *cvm, struct call *call, const cvm_change_t *change);
void begin_remove(cvm_t *cvm, struct call *call, const cvm_change_t *change);
void begin_meta_get(cvm_t *cvm, struct call *call, const char *name);
void begin_meta_put(
    cvm_t *cvm, struct call *call, const char *name, int64_t version, const char *wanted);
void begin_get(cvm_t *cvm, struct call *call, const char *uid);
void begin_get_certificates(cvm_t *cvm, struct call *call, const char *uid);
/* The first page. */
void begin_scan(cvm_t *cvm, struct call *call, cvm_scan_t what);
void begin_load(cvm_t *cvm, struct call *call, const cvm_loading_t *loading);
cvm_answer_t wait_for(struct call *call);
/* While no other instance moves. */
cvm_answer_t wait_alone(cvm_t *cvm, struct call *call);

cvm_answer_t get(cvm_t *cvm, const char *uid, struct call *call);
cvm_answer_t swap(cvm_t *cvm, const cvm_record_t *as_read, const cvm_record_t *wanted,
    const cvm_record_t *const *certificates, uint32_t count);
cvm_answer_t remove_device(cvm_t *cvm, const cvm_record_t *as_read,
    const cvm_record_t *const *certificates, uint32_t count);
/* *version: of the value as it was read, and as it is written. */
cvm_answer_t meta_put(cvm_t *cvm, const char *name, int64_t *version, const char *wanted);
/* Gives the device a key with its certificate, row, and writes another one before that, which may
 * be NULL. Frees both. */
cvm_answer_t give_key(
    cvm_t *cvm, const char *uid, const char *key, cvm_record_t *before, cvm_record_t *row);

#endif
