/* A store's life: opened, closed while it works, opened again; and what a killed process leaves. */
#include <stdlib.h>
#include <time.h>

#include "check.h"

enum { MANY = 100 };

static void sleep_ms(uint32_t ms)
{
    const struct timespec wait = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    (void)nanosleep(&wait, NULL);
}

static void one_that_was_never_opened_is_closed(void)
{
    struct store *store = store_new();
    store_end(store);
}

static void one_is_opened_again_and_again(void)
{
    for (uint32_t i = 0; i < 5; i++) {
        struct store *store = store_open();
        insert(store, device(numbered("D", i)));
        EXPECT_ANSWER(ready(store), CVM_ANSWER_OK);
        store_end(store);
    }
}

/* It completes all that it began, whatever became of it, and then the close. */
static void one_is_closed_while_it_opens(void)
{
    struct store *store = store_new();
    cvm_op_t *opening = begin_open(store, CVM_OPEN_SERVER), *closing = begin_close(store);
    EXPECT_ANSWER(closing, CVM_ANSWER_OK);
    EXPECT(opening->is_done);
    store_destroy(store);
    store_end(store_open());
}

/* What was answered OK is there afterwards, what was refused is not. */
static void one_is_closed_while_it_writes(void)
{
    static cvm_op_t *ops[MANY];
    struct store *store = store_open();
    for (uint32_t i = 0; i < MANY; i++)
        ops[i] = begin_swap(store, NULL, device(numbered("D", i)), NULL, 0);
    EXPECT_ANSWER(begin_close(store), CVM_ANSWER_OK);
    for (uint32_t i = 0; i < MANY; i++)
        EXPECT(ops[i]->is_done);
    store_destroy(store);
    store = store_open();
    for (uint32_t i = 0; i < MANY && store_is(CVM_STORE_SHARED); i++) {
        bool is_there = get(store, numbered("D", i))->answer == CVM_ANSWER_OK;
        if (ops[i]->answer != CVM_ANSWER_UNKNOWN)
            EXPECT(is_there == (ops[i]->answer == CVM_ANSWER_OK));
    }
    store_end(store);
}

/* Reads among them, scans, values. */
static void one_is_closed_in_the_middle_of_everything(void)
{
    static cvm_op_t *ops[MANY];
    struct store *store = store_open();
    for (uint32_t i = 0; i < MANY; i++)
        insert(store, device(numbered("D", i)));
    for (uint32_t i = 0; i < MANY; i++)
        ops[i] = i % 2 ? begin_get(store, numbered("D", i))
                       : begin_meta_put(store, numbered("v", i), 0, "value");
    EXPECT_ANSWER(begin_close(store), CVM_ANSWER_OK);
    for (uint32_t i = 0; i < MANY; i++)
        EXPECT(ops[i]->is_done);
    store_destroy(store);
}

static void what_one_instance_wrote_another_one_reads(void)
{
    struct store *first = store_open();
    insert(first, device("D"));
    struct store *second = store_open();
    if (get(second, "D")->answer != CVM_ANSWER_OK) {
        EXPECT(!store_is(CVM_STORE_SHARED));
        check_skip("what is in the store is one instance's own");
    }
    const cvm_record_t *other = read_device(second, "D"), *one = read_device(first, "D");
    EXPECT_ANSWER(swap(second, other, other, NULL), CVM_ANSWER_OK);
    EXPECT_ANSWER(swap(first, one, one, NULL), CVM_ANSWER_CONFLICT);
    one = read_device(first, "D");
    EXPECT_ANSWER(swap(first, one, one, NULL), CVM_ANSWER_OK);
    store_end(first);
    (void)read_device(second, "D"); /* the first one's end took nothing */
    insert(second, device("D2"));
    store_end(second);
}

/* --- Killed ----------------------------------------------------------------------------------- */

/* How far a process came, by what it was told: devices below `done` are written, `begun` may be. */
struct progress {
    _Atomic uint32_t begun, done;
};

/* Each device with a certificate and a value, in one change after the other. */
static void write_on_and_on(void *argument)
{
    struct progress *progress = argument;
    struct store *store = store_open();
    for (uint32_t i = progress->done;; i++) {
        const cvm_record_t *row = certificate(numbered("C", i), numbered("D", i), "current");
        progress->begun = i + 1;
        EXPECT_ANSWER(begin_swap(store, NULL, device(numbered("D", i)), &row, 1), CVM_ANSWER_OK);
        progress->done = i + 1;
    }
}

static void look_at_what_is_there(void *argument)
{
    struct progress *progress = argument;
    struct store *store = store_open();
    for (uint32_t i = 0; i < progress->begun; i++) {
        bool is_there = get(store, numbered("D", i))->answer == CVM_ANSWER_OK;
        EXPECT(is_there || i >= progress->done);
        EXPECT_TEXT(state_of(store, numbered("D", i), 0), is_there ? "current" : "none");
    }
    if (get(store, numbered("D", progress->done))->answer == CVM_ANSWER_OK)
        progress->done++; /* the last one was written all the same */
    store_end(store);
}

static void what_was_acknowledged_outlives_a_kill(void)
{
    struct progress *progress = process_share(sizeof *progress);
    process_must_share_store();
    for (uint32_t round = 0; round < 5; round++) {
        uint32_t before = progress->done;
        int writer = process_begin(write_on_and_on, progress);
        while (progress->done < before + 10) {
            process_go_on();
            sleep_ms(1);
        }
        sleep_ms(round);
        process_kill(writer);
        process_run(look_at_what_is_there, progress);
    }
}

const struct test TESTS_OF_LIFE[] = {
    {"one that was never opened is closed", one_that_was_never_opened_is_closed},
    {"one is opened again and again", one_is_opened_again_and_again},
    {"one is closed while it opens", one_is_closed_while_it_opens},
    {"one is closed while it writes", one_is_closed_while_it_writes},
    {"one is closed in the middle of everything", one_is_closed_in_the_middle_of_everything},
    {"what one instance wrote another one reads", what_one_instance_wrote_another_one_reads},
    {"what was acknowledged outlives a kill", what_was_acknowledged_outlives_a_kill},
    {NULL, NULL},
};
