/*
 * Instances in a folder of the test's own, run together in one thread, and calls that wait for
 * their answer. Every callback is checked: it runs once, and never inside the call that started it.
 */
#ifndef CVM_TESTS_HARNESS_H
#define CVM_TESTS_HARNESS_H

#include "support/test.h"

#include "cvm/cvm.h"

struct setting {
    const char *name, *value;
};

/* cmocka's set-up and tear-down of a group that runs over any store: the one that CVM_TEST_STORE
 * names ("file", which needs no server, "postgresql" or "dynamodb"). */
int harness_begin(void **state);
int harness_end(void **state);
/* Does that store have timers of its own? */
int harness_has_server(void);
/* The same of a test: a fresh folder, an empty store and world, no faults, the system's clock. */
int harness_set_up(void **state);
int harness_tear_down(void **state);
/* Is called, once, when this test has ended. */
void harness_at_end(void (*call)(void));
/* The folder, and the file store's file in it. */
const char *harness_folder(void);
const char *harness_store(void);
/* Removes it early, for a process that does not come to its tear-down. */
void harness_remove_folder(void);
/* Makes a CA in the folder: for platform "local:". Returns that property's value. */
const char *harness_make_ca(void);
/* The same, once it is made. */
const char *harness_ca(void);
/* Does its crl.pem list that serial number, which is in hex? */
int crl_lists(const char *serial);

/* A configuration at its defaults that knows the tests' backends. */
cvm_conf_t *conf_new(void);
/* The same for the folder: the test's store, platform fake:, no reconciling by itself, logs to
 * files; then the settings, which end with a NULL name. "role" is none, but says "server" or
 * "command"; without it an instance is a server where there is no store yet. */
cvm_conf_t *harness_conf(const struct setting *settings);
/* An instance that is not started, which turn() turns; frees conf. NULL and why. */
cvm_t *instance_new(cvm_conf_t *conf, char *why, size_t size);
/* A started instance; fails the test if it does not start. settings may be NULL. */
cvm_t *instance_start(const struct setting *settings);
/* The same, or the error's text if it does not start. */
cvm_t *instance_try(const struct setting *settings, char *why, size_t size);
/* Stops and frees it. */
void instance_end(cvm_t *cvm);
/* Stops it; is_stopped becomes 1 later. Free it after that. */
void instance_stop(cvm_t *cvm, int *is_stopped);
void instance_free(cvm_t *cvm);

/* All instances do what is due, and wait a little if there is nothing. */
void turn(void);
/* Turns until *is_true is what is wanted; fails the test after a minute. */
void turn_until(const int *is_true, int wanted);
/* Turns until so many calls are held by faults.h. */
void turn_until_held(uint32_t count);
/* Turns until no registration is under way: those that nobody waits for any more have ended too. */
void turn_until_idle(cvm_t *cvm);
/* Turns for so long. */
void turn_for(uint32_t ms);
/* Turns that instance alone, until then. */
void turn_alone_until(cvm_t *cvm, const int *is_true);
/* An instance beside those of the test, on the store as it is, without faults, and as a command.
 * The test's one; made when it is asked for. */
cvm_t *instance_beside(void);

/* What a cvm_done_cb was told. */
struct finish {
    int calls;
    char name[32], text[256]; /* of the error; "ok" */
};
/* A cvm_done_cb whose user_data is a finish. */
void finished(void *user_data, const cvm_error_t *error);

/* --- Registering ------------------------------------------------------------------------------ */

struct outcome {
    int calls, inside;
    uint64_t id;
    int32_t retryable, http_status;
    uint32_t retry_after_s;
    char name[32], step[32], text[256]; /* of the error; "ok" */
    char certificate_id[65], thing_name[129];
    char *certificate, *private_key, *body; /* NULL where there is none */
};

/* The token that device_add() gives a device. Static until the next call. */
const char *token_of(const char *uid);
/* Starts a registration. csr may be NULL; deadline_ms 0 is the default. */
void register_start(cvm_t *cvm, const char *uid, const char *token, const char *csr,
    uint32_t deadline_ms, struct outcome *outcome);
/* Starts one from a payload. */
void handle_start(cvm_t *cvm, const char *media_type, const char *payload, struct outcome *outcome);
/* Waits for its one answer. */
void outcome_wait(struct outcome *outcome);
/* Both, with the device's own token. Returns the error's name. */
const char *register_now(cvm_t *cvm, const char *uid, const char *csr, struct outcome *outcome);
/* Frees what it holds, and empties it. */
void outcome_clear(struct outcome *outcome);

/* A CSR for a new P-256 key. Freed by the caller. */
char *make_csr(void);

/* --- The operator's verbs --------------------------------------------------------------------- */

/* Each waits and returns the error's name, "ok" without; static until the next call. */
const char *device_add(cvm_t *cvm, const char *uid);
const char *device_enable(cvm_t *cvm, const char *uid);
const char *device_disable(cvm_t *cvm, const char *uid);
const char *device_reset(cvm_t *cvm, const char *uid);
const char *device_revoke(cvm_t *cvm, const char *uid, const char *reason);
const char *device_remove(cvm_t *cvm, const char *uid, int32_t force);
const char *reconcile(cvm_t *cvm);

#define MOST_VIEWED 64

struct view {
    char name[32]; /* of the error; "ok" */
    int32_t is_enabled, is_registered, is_revoked, has_lease;
    char certificate_id[65], thing_name[129];
    uint32_t certificate_count;
    struct {
        char id[65], state[16], reason[32];
    } certificates[MOST_VIEWED];
};

void device_view(cvm_t *cvm, const char *uid, struct view *view);
/* How many of its certificates are in that state. */
uint32_t view_count(const struct view *view, const char *state);

/* --- What was logged -------------------------------------------------------------------------- */

/* How many lines of the log (or "audit") hold the text. */
uint32_t lines_with(const char *file, const char *text);

#endif
