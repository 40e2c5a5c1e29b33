/* What the tests are written with: a store that is open, its verbs as calls that wait, and what is
 * expected of them. All that they make stays until the test ends, in a process of its own. */
#ifndef CVM_CHECK_CHECK_H
#define CVM_CHECK_CHECK_H

#include <string.h>

#include "host.h"

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

/* --- Expecting -------------------------------------------------------------------------------- */

#define EXPECT(is_so)                                                                              \
    do {                                                                                           \
        if (!(is_so))                                                                              \
            check_fail(__FILE__, __LINE__, "expected: %s", #is_so);                                \
    } while (0)
#define EXPECT_ANSWER(op, answer)       check_answer(__FILE__, __LINE__, op, answer)
#define EXPECT_TEXT(text, wanted)       check_text(__FILE__, __LINE__, text, wanted)
#define EXPECT_NUMBER(number, wanted)   check_number(__FILE__, __LINE__, number, wanted)
#define EXPECT_SAME(record, wanted, to) check_same(__FILE__, __LINE__, record, wanted, to)

/* Waits for op. Returns it. */
cvm_op_t *check_answer(const char *file, int line, cvm_op_t *op, cvm_answer_t answer);
void check_text(const char *file, int line, const char *text, const char *wanted);
void check_number(const char *file, int line, int64_t number, int64_t wanted);
/* The fields before `to` are the same. */
void check_same(const char *file, int line, const cvm_record_t *record, const cvm_record_t *wanted,
    uint32_t to);

/* --- A store ---------------------------------------------------------------------------------- */

/* Makes it and opens it: as a server does, or beside one where there is one already and there can
 * be one only. */
struct store *store_open(void);
/* Makes one that is not open yet. */
struct store *store_new(void);
cvm_op_t *begin_open(struct store *store, uint32_t how);
cvm_op_t *begin_close(struct store *store);
/* After it has closed. */
void store_destroy(struct store *store);
/* Closes and destroys it. */
void store_end(struct store *store);
/* Whether several servers may have it open, and whether it sees to it that keys are unique. */
bool store_is(uint32_t flag);
/* Ends the test as one that does not apply unless the store says that it is that. */
void store_must_be(uint32_t flag, const char *why_not);

/* --- Records ---------------------------------------------------------------------------------- */

#define DAY_MS INT64_C(86400000)
/* When the check began. */
extern int64_t check_now_ms;
#define NOW check_now_ms

/* Enabled, with a token. */
cvm_record_t *device(const char *uid);
/* It ends a day after NOW; state: pending, current, retiring or revoked. */
cvm_record_t *certificate(const char *id, const char *uid, const char *state);
/* Set the field and return the record. */
cvm_record_t *with_text(cvm_record_t *record, uint32_t field, const char *value);
cvm_record_t *with_number(cvm_record_t *record, uint32_t field, int64_t value);
/* A copy of the test's own. */
cvm_record_t *copy_of(const cvm_record_t *record);
/* The same text until the next 15 calls. */
const char *numbered(const char *word, uint32_t number);

/* --- Verbs ------------------------------------------------------------------------------------ */

/* Waits until it is complete. Returns op. */
cvm_op_t *wait_for(cvm_op_t *op);
/* Several may be under way. as_read: NULL for a device that must not exist; both NULL for
 * certificates alone. */
cvm_op_t *begin_swap(struct store *store, const cvm_record_t *as_read, const cvm_record_t *wanted,
    const cvm_record_t *const *certificates, uint32_t count);
cvm_op_t *begin_remove(struct store *store, const cvm_record_t *as_read,
    const cvm_record_t *const *certificates, uint32_t count);
/* rows: receives a cvm_load_t for each device, when it is complete. */
cvm_op_t *begin_load(struct store *store, uint32_t flags, cvm_record_t *const *devices,
    uint32_t count, cvm_record_t *const *certificates, uint32_t certificate_count, uint8_t *rows);
cvm_op_t *begin_get(struct store *store, const char *uid);
cvm_op_t *begin_meta_put(
    struct store *store, const char *name, int64_t version, const char *wanted);

/* These wait. */
cvm_op_t *ready(struct store *store);
cvm_op_t *now(struct store *store);
cvm_op_t *get(struct store *store, const char *uid);
cvm_op_t *get_certificates(struct store *store, const char *uid, uint32_t limit);
cvm_op_t *scan(
    struct store *store, cvm_scan_t what, const char *cursor, int64_t before_ms, uint32_t limit);
cvm_op_t *find(struct store *store, cvm_find_by_t by, const char *value);
cvm_op_t *meta_get(struct store *store, const char *name);
cvm_op_t *meta_put(struct store *store, const char *name, int64_t version, const char *wanted);
/* With one certificate, which may be NULL. */
cvm_op_t *swap(struct store *store, const cvm_record_t *as_read, const cvm_record_t *wanted,
    const cvm_record_t *row);

/* And these expect OK as well. */
/* The device's record. */
const cvm_record_t *read_device(struct store *store, const char *uid);
void insert(struct store *store, cvm_record_t *record);
/* One certificate alone. */
void write_certificate(struct store *store, cvm_record_t *row);
/* The state of the device's certificate i, in the order of get_certificates; "none" past the end.
 */
const char *state_of(struct store *store, const char *uid, uint32_t i);
/* The cursor of the page after op's; "" if it was the last. */
const char *cursor_of(const cvm_op_t *op);
/* Goes through a scan by pages of that size: calls with each record. Returns how many. */
uint32_t scan_all(struct store *store, cvm_scan_t what, int64_t before_ms, uint32_t page,
    void (*found)(void *argument, const cvm_record_t *record), void *argument);

/* --- Processes -------------------------------------------------------------------------------- */

/* Before any store is open in this one. Calls run in a process of its own; returns its id. */
int process_begin(void (*run)(void *argument), void *argument);
/* Waits for it: whether it came to its end by itself, and well. */
bool process_wait(int process);
void process_kill(int process);
/* Runs one to its end, and ends the test if that failed. */
void process_run(void (*run)(void *argument), void *argument);
/* Runs so many at once to their ends, and ends the test if one failed. */
void process_run_many(uint32_t count, void (*run)(void *argument), void *argument);
/* Memory that processes share, zeroed. */
void *process_share(size_t size);
/* To be called by whoever waits for another process: ends this one once one has failed. */
void process_go_on(void);
/* In memory that they share: each waits for the others. */
struct meeting {
    _Atomic uint32_t waiting, round;
    uint32_t players;
};
void process_meet(struct meeting *meeting);
/* Makes the store, and leaves it closed; ends the test as one that does not apply if other
 * processes don't see what one has written. */
void process_must_share_store(void);

/* --- The tests -------------------------------------------------------------------------------- */

struct test {
    const char *name;
    void (*run)(void);
};

/* Each file's, which end with a NULL name. */
extern const struct test TESTS_OF_RECORDS[], TESTS_OF_CERTIFICATES[], TESTS_OF_KEYS[],
    TESTS_OF_SCANS[], TESTS_OF_LOADS[], TESTS_OF_VALUES[], TESTS_OF_FINDS[], TESTS_OF_LIFE[],
    TESTS_OF_CONTESTS[];

#endif
