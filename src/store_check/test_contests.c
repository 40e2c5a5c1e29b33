/* Contests between processes: all want the same at the same time, and one has it. */
#include "check.h"

#define PLAYERS 8
#define ROUNDS  200

/* What all players see. */
struct contest {
    struct meeting meeting;
    /* Before it is begun: what is needed to play this round, read. NULL for nothing. */
    void *(*prepare)(struct store *store, uint32_t round);
    /* Plays it: what it was answered. */
    cvm_answer_t (*play)(struct store *store, uint32_t round, uint32_t player, const void *read);
    _Atomic uint32_t next_player;
    uint8_t answers[ROUNDS][PLAYERS];
};

static void contest_player(void *argument)
{
    struct contest *contest = argument;
    uint32_t player = atomic_fetch_add(&contest->next_player, 1);
    struct store *store = store_open();
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const void *read = contest->prepare ? contest->prepare(store, round) : NULL;
        process_meet(&contest->meeting);
        contest->answers[round][player] = (uint8_t)contest->play(store, round, player, read);
    }
    process_meet(&contest->meeting);
    store_end(store);
}

/* One has won each round, and no other was told that it has. */
static void contest_judge(const struct contest *contest, cvm_answer_t lost)
{
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t won = 0, in_doubt = 0;
        for (uint32_t player = 0; player < PLAYERS; player++) {
            cvm_answer_t answer = contest->answers[round][player];
            won += answer == CVM_ANSWER_OK;
            in_doubt += answer == CVM_ANSWER_UNKNOWN;
            if (answer != CVM_ANSWER_OK && answer != lost && answer != CVM_ANSWER_UNKNOWN &&
                answer != CVM_ANSWER_BUSY && answer != CVM_ANSWER_UNAVAILABLE)
                check_fail(__FILE__, __LINE__, "round %u: a player is answered %s", round,
                    ops_answer_name(answer));
        }
        if (won > 1 || (!won && !in_doubt))
            check_fail(
                __FILE__, __LINE__, "round %u: %u have won, %u don't know", round, won, in_doubt);
    }
}

static void contest_run(void (*begin)(void *argument),
    void *(*prepare)(struct store *store, uint32_t round),
    cvm_answer_t (*play)(struct store *store, uint32_t round, uint32_t player, const void *read),
    cvm_answer_t lost)
{
    process_must_share_store();
    struct contest *contest = process_share(sizeof *contest);
    contest->meeting.players = PLAYERS;
    contest->prepare = prepare;
    contest->play = play;
    process_run(begin, NULL);
    process_run_many(contest->meeting.players, contest_player, contest);
    contest_judge(contest, lost);
}

/* --- What is fought for ----------------------------------------------------------------------- */

static void begin_devices(void *argument)
{
    static cvm_record_t *devices[ROUNDS];
    static uint8_t rows[ROUNDS];
    (void)argument;
    struct store *store = store_open();
    for (uint32_t i = 0; i < ROUNDS; i++)
        devices[i] = device(numbered("D", i));
    EXPECT_ANSWER(begin_load(store, 0, devices, ROUNDS, NULL, 0, rows), CVM_ANSWER_OK);
    store_end(store);
}

static void begin_nothing(void *argument)
{
    (void)argument;
}

static void *prepare_device(struct store *store, uint32_t round)
{
    return (void *)read_device(store, numbered("D", round));
}

static cvm_answer_t play_swap(
    struct store *store, uint32_t round, uint32_t player, const void *read)
{
    cvm_record_t *wanted = with_text(copy_of(read), CVM_D_THING_NAME, numbered("player", player));
    const cvm_record_t *row =
        certificate(numbered(numbered("C", round), player), numbered("D", round), "current");
    return wait_for(begin_swap(store, read, wanted, &row, 1))->answer;
}

/* What is there is one player's, wholly. */
static void read_what_was_written(void *argument)
{
    (void)argument;
    struct store *store = store_open();
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const char *uid = numbered("D", round);
        const char *winner = records_text(read_device(store, uid), CVM_D_THING_NAME);
        const cvm_op_t *rows = get_certificates(store, uid, PLAYERS);
        EXPECT_NUMBER(rows->count, 1);
        const char *id = records_text(rows->found[0], CVM_C_CERTIFICATE_ID);
        EXPECT_TEXT(id + strlen(id) - 3, winner + strlen(winner) - 3); /* the player's number */
    }
    store_end(store);
}

static void of_a_device_that_all_write_one_writes_it(void)
{
    contest_run(begin_devices, prepare_device, play_swap, CVM_ANSWER_CONFLICT);
    process_run(read_what_was_written, NULL);
}

static cvm_answer_t play_insert(
    struct store *store, uint32_t round, uint32_t player, const void *read)
{
    (void)player;
    (void)read;
    return swap(store, NULL, device(numbered("NEW", round)), NULL)->answer;
}

static void of_a_device_that_all_insert_one_inserts_it(void)
{
    contest_run(begin_nothing, NULL, play_insert, CVM_ANSWER_CONFLICT);
}

/* Each has its own device, and all the same key. */
static cvm_answer_t play_key(struct store *store, uint32_t round, uint32_t player, const void *read)
{
    (void)read;
    cvm_record_t *wanted = device(numbered(numbered("D", round), player));
    with_text(wanted, CVM_D_PUBLIC_KEY_SHA256, numbered("key", round));
    return swap(store, NULL, wanted, NULL)->answer;
}

static void of_a_key_that_all_claim_one_has_it(void)
{
    store_must_be(CVM_STORE_UNIQUE_KEYS, "it says that it does not look after keys");
    contest_run(begin_nothing, NULL, play_key, CVM_ANSWER_KEY_IN_USE);
}

static cvm_answer_t play_value(
    struct store *store, uint32_t round, uint32_t player, const void *read)
{
    (void)player;
    (void)read;
    return meta_put(store, numbered("value", round), 0, "mine")->answer;
}

static void of_a_value_that_all_write_one_writes_it(void)
{
    contest_run(begin_nothing, NULL, play_value, CVM_ANSWER_CONFLICT);
}

static cvm_answer_t play_remove(
    struct store *store, uint32_t round, uint32_t player, const void *read)
{
    (void)round;
    (void)player;
    return wait_for(begin_remove(store, read, NULL, 0))->answer;
}

static void of_a_device_that_all_remove_one_removes_it(void)
{
    contest_run(begin_devices, prepare_device, play_remove, CVM_ANSWER_CONFLICT);
}

/* --- Crossed ---------------------------------------------------------------------------------- */

#define CROSSED 40
#define WRITERS 4

struct crossed {
    struct meeting meeting;
    _Atomic uint32_t next_player;
    _Atomic uint32_t won[CROSSED]; /* how often each device was written, by what was answered */
    _Atomic uint32_t in_doubt[CROSSED];
};

/* Half of them go up, half down, each with all that it does under way at once. */
static void crossed_player(void *argument)
{
    struct crossed *crossed = argument;
    uint32_t player = atomic_fetch_add(&crossed->next_player, 1);
    cvm_op_t *ops[CROSSED];
    const cvm_record_t *read[CROSSED];
    struct store *store = store_open();
    for (uint32_t i = 0; i < CROSSED; i++)
        read[i] = read_device(store, numbered("D", i));
    process_meet(&crossed->meeting);
    for (uint32_t k = 0; k < CROSSED; k++) {
        uint32_t i = player % 2 ? k : CROSSED - 1 - k;
        ops[i] = begin_swap(store, read[i], read[i], NULL, 0);
    }
    for (uint32_t i = 0; i < CROSSED; i++) {
        cvm_answer_t answer = wait_for(ops[i])->answer;
        if (answer == CVM_ANSWER_OK)
            crossed->won[i]++;
        else if (answer == CVM_ANSWER_UNKNOWN)
            crossed->in_doubt[i]++;
        else if (answer != CVM_ANSWER_BUSY && answer != CVM_ANSWER_UNAVAILABLE)
            EXPECT_ANSWER(ops[i], CVM_ANSWER_CONFLICT);
    }
    store_end(store);
}

/* Whoever locks several rows at once may lock them crosswise with another. */
static void writers_that_cross_hold_each_other_up_for_a_while_only(void)
{
    process_must_share_store();
    struct crossed *crossed = process_share(sizeof *crossed);
    crossed->meeting.players = WRITERS;
    process_run(begin_devices, NULL);
    process_run_many(crossed->meeting.players, crossed_player, crossed);
    for (uint32_t i = 0; i < CROSSED; i++)
        EXPECT(crossed->won[i] == 1 || (!crossed->won[i] && crossed->in_doubt[i]));
}

/* --- Frozen ----------------------------------------------------------------------------------- */

struct freezing {
    struct meeting meeting;
    _Atomic uint32_t next_player, written, ended;
    uint32_t found[2]; /* devices when it was frozen, and once all had ended */
};

/* Writes until it is refused, with some under way at once. */
static void freezing_writer(struct freezing *freezing, struct store *store, uint32_t player)
{
    enum { AT_ONCE = 5 };
    cvm_op_t *ops[AT_ONCE];
    bool is_refused = false;
    for (uint32_t round = 0; !is_refused; round++) {
        for (uint32_t i = 0; i < AT_ONCE; i++)
            ops[i] = begin_swap(
                store, NULL, device(numbered(numbered("D", player), round * AT_ONCE + i)), NULL, 0);
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            cvm_answer_t answer = wait_for(ops[i])->answer;
            EXPECT(answer == CVM_ANSWER_OK || answer == CVM_ANSWER_UNAVAILABLE);
            freezing->written += answer == CVM_ANSWER_OK;
            is_refused |= answer == CVM_ANSWER_UNAVAILABLE;
        }
    }
    freezing->ended++;
}

static void freezing_player(void *argument)
{
    struct freezing *freezing = argument;
    uint32_t player = atomic_fetch_add(&freezing->next_player, 1);
    struct store *store = store_open();
    process_meet(&freezing->meeting);
    if (player) {
        freezing_writer(freezing, store, player);
    } else {
        while (freezing->written < 20 * PLAYERS) {
            process_go_on();
            loop_turn(1);
        }
        EXPECT_ANSWER(meta_put(store, CVM_FROZEN, 0, "now"), CVM_ANSWER_OK);
        freezing->found[0] = scan_all(store, CVM_SCAN_DEVICES, 0, 1000, NULL, NULL);
        while (freezing->ended < PLAYERS - 1) {
            process_go_on();
            loop_turn(10);
        }
        freezing->found[1] = scan_all(store, CVM_SCAN_DEVICES, 0, 1000, NULL, NULL);
    }
    store_end(store);
}

/* What was under way when it was frozen is complete by then, or never written. */
static void nothing_is_written_once_one_has_frozen_it(void)
{
    store_must_be(CVM_STORE_FREEZES, "it says that it can't be frozen");
    process_must_share_store();
    struct freezing *freezing = process_share(sizeof *freezing);
    freezing->meeting.players = PLAYERS;
    process_run_many(freezing->meeting.players, freezing_player, freezing);
    EXPECT_NUMBER(freezing->found[0], freezing->found[1]);
    EXPECT_NUMBER(freezing->found[1], freezing->written + 1); /* and SHARED */
}

const struct test TESTS_OF_CONTESTS[] = {
    {"of a device that all write one writes it", of_a_device_that_all_write_one_writes_it},
    {"of a device that all insert one inserts it", of_a_device_that_all_insert_one_inserts_it},
    {"of a device that all remove one removes it", of_a_device_that_all_remove_one_removes_it},
    {"of a key that all claim one has it", of_a_key_that_all_claim_one_has_it},
    {"of a value that all write one writes it", of_a_value_that_all_write_one_writes_it},
    {"writers that cross hold each other up for a while only",
        writers_that_cross_hold_each_other_up_for_a_while_only},
    {"nothing is written once one has frozen it", nothing_is_written_once_one_has_frozen_it},
    {NULL, NULL},
};
