/*
 * The host of the check: what a store is handed by cvm/plugin.h, made for watching it. Nothing of
 * libcvm's core is in it. Whatever a store may not do ends the test with what it was.
 */
#ifndef CVM_CHECK_HOST_H
#define CVM_CHECK_HOST_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <uv.h>

#include "cvm/plugin.h"

#define CHECK_TEXT 240

struct store;

/* --- Ends of a test --------------------------------------------------------------------------- */

/* Ends the test, from any thread. */
void check_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
/* What the store did against plugin.h. */
#define CHECK_VIOLATION(...) check_fail(NULL, 0, __VA_ARGS__)
/* Ends it as one that does not apply. */
void check_skip(const char *why) __attribute__((noreturn));
/* Prints lines as TAP's comments. */
void check_print(const char *text);

/* --- Records (records.c) ---------------------------------------------------------------------- */

enum owner { OWNER_STORE, OWNER_TEST, OWNER_HOST };

/* Which fields a later release would have added: one text and one number at the end of devices and
 * certificates. */
extern bool records_are_later;
#define CHECK_LATER_FIELDS 2

cvm_record_t *records_new(cvm_record_kind_t kind);
cvm_record_t *records_copy(const cvm_record_t *record);
void records_free(cvm_record_t *record);
void records_hand_over(cvm_record_t *record, enum owner owner);
cvm_record_kind_t records_kind(const cvm_record_t *record);
const char *records_text(const cvm_record_t *record, uint32_t field);
int64_t records_number(const cvm_record_t *record, uint32_t field);
int32_t records_set_text(cvm_record_t *record, uint32_t field, const char *value);
int32_t records_set_number(cvm_record_t *record, uint32_t field, int64_t value);
uint32_t records_field_count(cvm_record_kind_t kind);
const char *records_field_name(cvm_record_kind_t kind, uint32_t field);
cvm_field_kind_t records_field_kind(cvm_record_kind_t kind, uint32_t field);
uint32_t records_field_longest(cvm_record_kind_t kind, uint32_t field);
/* Frees what tests made; how many of the store's are left. */
uint32_t records_end(void);

/* --- Settings (settings.c) -------------------------------------------------------------------- */

/* From the command line, "NAME=VALUE". 0, or -1 without the "=". */
int32_t settings_add(const char *text);
int32_t settings_add_row(
    cvm_registry_t *registry, const cvm_property_row_t *row, char *error, size_t error_size);
/* NULL for an unknown name. */
const char *settings_text(cvm_context_t *context, const char *name);
int64_t settings_number(cvm_context_t *context, const char *name);
int32_t settings_secret(cvm_context_t *context, const char *name, char *to, size_t size,
    char *error, size_t error_size);
/* What was set and no property is; NULL if there is nothing such. */
const char *settings_unknown(void);

/* --- The loop (loop.c) ------------------------------------------------------------------------ */

/* What a store was handed as its context. */
struct cvm_context_s {
    struct cvm_watch_s *watches;
    struct cvm_timer_s *timers;
};

/* Does what is to be done, and waits for it at most so long. */
void loop_turn(uint32_t wait_ms);
int32_t loop_post(cvm_context_t *context, void (*function)(void *argument), void *argument);
int32_t loop_run(cvm_context_t *context, void (*work)(void *argument), void (*done)(void *argument),
    void *argument);
cvm_watch_t *loop_watch_new(cvm_context_t *context, int32_t fd,
    void (*happened)(void *argument, uint32_t events), void *argument);
void loop_watch_set(cvm_watch_t *watch, uint32_t events);
void loop_watch_free(cvm_watch_t *watch);
cvm_timer_t *loop_timer_new(
    cvm_context_t *context, void (*expired)(void *argument), void *argument);
void loop_timer_start(cvm_timer_t *timer, int64_t delay_ms);
void loop_timer_stop(cvm_timer_t *timer);
void loop_timer_free(cvm_timer_t *timer);
/* Frees what a store that has closed left behind. */
void loop_forget(cvm_context_t *context);
/* Fails unless it is the loop's thread. */
void loop_only(const char *function);
/* Frees it all. */
void loop_end(void);

/* --- Operations (ops.c) ----------------------------------------------------------------------- */

enum verb {
    VERB_OPEN,
    VERB_READY,
    VERB_GET,
    VERB_SWAP,
    VERB_GET_CERTIFICATES,
    VERB_SCAN,
    VERB_LOAD,
    VERB_META_GET,
    VERB_META_PUT,
    VERB_REMOVE,
    VERB_FIND,
    VERB_NOW,
    VERB_CLOSE,
    VERB_COUNT
};

/* An operation and its answer, which stay until the test ends. What it was handed is its own, and
 * gone once it is complete. */
struct cvm_op_s {
    struct cvm_op_s *next;
    struct store *store;
    enum verb verb;
    atomic_int is_complete; /* set in any thread */
    bool is_done;           /* on the loop, after that */
    cvm_answer_t answer;
    char text[CHECK_TEXT];
    cvm_record_t **found;
    uint32_t count;
    char *outs[CVM_OUT_COUNT];
    int64_t numbers[CVM_OUT_NUMBER_COUNT];
    int64_t left_ms;
    /* Handed in: */
    char *name, *value; /* a uid, a cursor, a value's name; a value */
    cvm_scan_t what;
    uint32_t limit;
    cvm_change_t change;
    cvm_loading_t loading;
    cvm_record_t **records;
    uint32_t record_count;
    uint8_t *rows; /* the test's, which receives loading.rows */
};

cvm_op_t *ops_new(struct store *store, enum verb verb);
/* Takes a copy as one that is handed in; NULL for NULL. */
char *ops_hand_text(const char *text);
cvm_record_t *ops_hand_record(cvm_op_t *op, const cvm_record_t *record);
/* How many of the store's are under way. */
uint32_t ops_under_way(const struct store *store);
const char *ops_answer_name(cvm_answer_t answer);
const char *ops_verb_name(enum verb verb);
int32_t ops_add_record(cvm_op_t *op, cvm_record_t *record);
int32_t ops_set_text(cvm_op_t *op, cvm_out_t out, const char *value);
int32_t ops_set_number(cvm_op_t *op, cvm_out_number_t out, int64_t value);
int64_t ops_left_ms(const cvm_op_t *op);
void ops_complete(cvm_op_t *op, cvm_answer_t answer, const char *text);
void ops_end(void);

/* --- The module and its table (host.c) -------------------------------------------------------- */

extern const cvm_host_t CHECK_HOST;
/* The one whose store is checked: a copy of its table, as long as it is. */
struct module {
    cvm_store_ops_t ops;
    void *user_data;
    char location[1024];
};
extern struct module module;
/* Of a test: whether one of its processes has failed, which all of them see; and how long it may
 * take. */
extern bool *host_has_failed;
extern uint32_t host_timeout_s;

/* Loads the shared object, and takes its store that named ("KIND:LOCATION") says. 0, or -1 and why.
 */
int32_t module_load(const char *path, const char *named, char *error, size_t error_size);
/* The store's log, the last lines: told when a test fails. */
void host_print_log(void);

#endif
