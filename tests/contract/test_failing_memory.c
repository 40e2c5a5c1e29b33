/*
 * Memory runs out at each place in turn. Of our own allocations every single one fails once; of
 * those of the libraries (OpenSSL, SQLite, libuv, cJSON) a sample. Each call then ends with an
 * error or with success, once, and the next one works; a leak or a wild pointer is the sanitizers'
 * to find. This program is linked with --wrap, so that our malloc() and its like come here first.
 */
#include "support/fake_platform.h"
#include "support/faults.h"
#include "support/harness.h"
#include "support/store_file.h"

#include "backends/file/file.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include <cjson/cJSON.h>
#include <openssl/crypto.h>
#include <sqlite3.h>
#include <uv.h>

/* --- Who allocates, and which one fails ------------------------------------------------------- */

enum owner { OURS, CRYPTO, SQLITE, UV, CJSON, OWNERS };

static const char *const NAMES[OWNERS] = {"ours", "libcrypto", "libsqlite3", "libuv", "libcjson"};

static atomic_int armed = OWNERS; /* whose allocations are counted */
static atomic_long counted, fail_at;

static void arm(enum owner owner, long nth)
{
    atomic_store(&armed, OWNERS);
    atomic_store(&counted, 0);
    atomic_store(&fail_at, nth);
    atomic_store(&armed, (int)owner);
}

/* Returns how many were counted. */
static long disarm(void)
{
    atomic_store(&armed, OWNERS);
    return atomic_load(&counted);
}

static int fails(enum owner owner)
{
    if (atomic_load(&armed) != (int)owner ||
        atomic_fetch_add(&counted, 1) + 1 != atomic_load(&fail_at))
        return 0;
    errno = ENOMEM;
    return 1;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t length);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t length);

void *__wrap_malloc(size_t size)
{
    return fails(OURS) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails(OURS) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails(OURS) ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    return fails(OURS) ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t length)
{
    return fails(OURS) ? NULL : __real_strndup(text, length);
}

static void *crypto_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return size == 0 || fails(CRYPTO) ? NULL : __real_malloc(size);
}

static void *crypto_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    if (size == 0) {
        free(old);
        return NULL;
    }
    return fails(CRYPTO) ? NULL : __real_realloc(old, size);
}

static void crypto_free(void *old, const char *file, int line)
{
    (void)file;
    (void)line;
    free(old);
}

static void *uv_malloc_hook(size_t size)
{
    return fails(UV) ? NULL : __real_malloc(size);
}

static void *uv_calloc_hook(size_t count, size_t size)
{
    return fails(UV) ? NULL : __real_calloc(count, size);
}

static void *uv_realloc_hook(void *old, size_t size)
{
    return fails(UV) ? NULL : __real_realloc(old, size);
}

static void *cjson_malloc(size_t size)
{
    return fails(CJSON) ? NULL : __real_malloc(size);
}

static sqlite3_mem_methods sqlite_methods;

static void *sqlite_malloc_hook(int size)
{
    return fails(SQLITE) ? NULL : sqlite_methods.xMalloc(size);
}

static void *sqlite_realloc_hook(void *old, int size)
{
    return fails(SQLITE) ? NULL : sqlite_methods.xRealloc(old, size);
}

/* Before any library has allocated. */
static int install(void)
{
    cJSON_Hooks hooks = {cjson_malloc, free};
    cJSON_InitHooks(&hooks);
    if (!CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) ||
        uv_replace_allocator(uv_malloc_hook, uv_realloc_hook, uv_calloc_hook, free) ||
        sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_methods))
        return -1;
    sqlite3_mem_methods methods = sqlite_methods;
    methods.xMalloc = sqlite_malloc_hook;
    methods.xRealloc = sqlite_realloc_hook;
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) ? -1 : 0;
}

/* --- One call under test ---------------------------------------------------------------------- */

struct attempt {
    cvm_t *cvm;
    char uid[32];
    char *csr, *other_csr;
    cvm_batch_t *batch;
    int accepted, calls, is_rendered;
    char name[32], certificate_id[65];
};

static void settle(struct attempt *attempt, const cvm_error_t *error)
{
    attempt->calls++;
    (void)snprintf(attempt->name, sizeof attempt->name, "%s", cvm_error_name(error));
}

static void on_result(void *user_data, const cvm_result_t *result)
{
    struct attempt *attempt = user_data;
    size_t length;
    settle(attempt, cvm_result_error(result));
    (void)cvm_result_body(result, &length);
    if (attempt->is_rendered && !length) /* an empty answer must not pass for success */
        assert_in_range(cvm_result_http_status(result), 500, 503);
    if (!cvm_result_error(result))
        (void)snprintf(attempt->certificate_id, sizeof attempt->certificate_id, "%s",
            cvm_result_certificate_id(result));
}

static void on_done(void *user_data, const cvm_error_t *error)
{
    settle(user_data, error);
}

static void on_device(void *user_data, const cvm_error_t *error, const cvm_device_t *device)
{
    assert_int_equal(error == NULL, device != NULL);
    settle(user_data, error);
}

static void on_devices(void *user_data, const cvm_error_t *error,
    const cvm_device_t *const *devices, uint32_t count, const char *cursor)
{
    (void)devices;
    (void)count;
    (void)cursor;
    settle(user_data, error);
}

static void on_batch(void *user_data, const cvm_error_t *error, cvm_batch_t *batch)
{
    (void)batch;
    settle(user_data, error);
}

/* Waits if the call was accepted. */
static void wait_for(struct attempt *attempt, cvm_error_t *error)
{
    attempt->accepted = error == NULL;
    if (error) {
        (void)snprintf(attempt->name, sizeof attempt->name, "%s", cvm_error_name(error));
        cvm_error_free(error);
        return;
    }
    turn_until(&attempt->calls, 1);
}

static void register_with(struct attempt *attempt, const char *token, const char *csr)
{
    cvm_request_t *request = cvm_request_new();
    cvm_error_t *error = NULL;
    if (!request) {
        (void)snprintf(attempt->name, sizeof attempt->name, "internal");
        return;
    }
    error = cvm_request_set_uid(request, attempt->uid);
    if (!error)
        error = cvm_request_set_token(request, token);
    if (!error && csr)
        error = cvm_request_set_csr(request, csr, strlen(csr));
    if (!error)
        error = cvm_register(attempt->cvm, request, on_result, attempt, NULL);
    cvm_request_free(request);
    wait_for(attempt, error);
}

static void with_csr(struct attempt *attempt)
{
    register_with(attempt, token_of(attempt->uid), attempt->csr);
}

static void with_other_csr(struct attempt *attempt)
{
    register_with(attempt, token_of(attempt->uid), attempt->other_csr);
}

static void without_csr(struct attempt *attempt)
{
    register_with(attempt, token_of(attempt->uid), NULL);
}

static void with_wrong_token(struct attempt *attempt)
{
    register_with(attempt, "wrong", NULL);
}

static void by_payload(struct attempt *attempt)
{
    char payload[200];
    attempt->is_rendered = 1;
    (void)snprintf(payload, sizeof payload, "{\"device_uid\":\"%s\",\"device_token\":\"%s\"}",
        attempt->uid, token_of(attempt->uid));
    wait_for(attempt, cvm_handle(attempt->cvm, NULL, "application/json", payload, strlen(payload),
                          on_result, attempt, NULL));
}

/* {1: uid, 2: token}, each of less than 256 bytes. */
static void by_cbor(struct attempt *attempt)
{
    const char *uid = attempt->uid, *token = token_of(attempt->uid);
    char payload[200];
    attempt->is_rendered = 1;
    int length = snprintf(payload, sizeof payload, "\xa2\x01\x78%c%s\x02\x78%c%s",
        (char)strlen(uid), uid, (char)strlen(token), token);
    wait_for(attempt, cvm_handle(attempt->cvm, NULL, "application/cbor", payload, (size_t)length,
                          on_result, attempt, NULL));
}

static void put(struct attempt *attempt)
{
    wait_for(attempt,
        cvm_device_put(attempt->cvm, attempt->uid, token_of(attempt->uid), 1, on_done, attempt));
}

static void disable(struct attempt *attempt)
{
    wait_for(attempt, cvm_device_disable(attempt->cvm, attempt->uid, on_done, attempt));
}

static void reset(struct attempt *attempt)
{
    wait_for(attempt, cvm_device_reset(attempt->cvm, attempt->uid, on_done, attempt));
}

static void revoke_it(struct attempt *attempt)
{
    wait_for(attempt, cvm_device_revoke(attempt->cvm, attempt->uid, NULL, on_done, attempt));
}

static void remove_it(struct attempt *attempt)
{
    wait_for(attempt, cvm_device_remove(attempt->cvm, attempt->uid, 1, on_done, attempt));
}

static void get(struct attempt *attempt)
{
    wait_for(attempt, cvm_device_get(attempt->cvm, attempt->uid, on_device, attempt));
}

static void list(struct attempt *attempt)
{
    wait_for(attempt, cvm_device_list(attempt->cvm, "", 5, on_devices, attempt));
}

static void check(struct attempt *attempt)
{
    wait_for(attempt, cvm_check(attempt->cvm, on_done, attempt));
}

static void import(struct attempt *attempt)
{
    static const char HASH[] = "ecab892722df5937d055dd496cdff41ac6bdece2cfc18b31e896960e52df5787";
    char uid[64];
    cvm_error_t *error = NULL;
    attempt->batch = cvm_batch_new(10);
    for (int i = 0; attempt->batch && i < 5 && !error; i++) {
        (void)snprintf(uid, sizeof uid, "%s-%d", attempt->uid, i);
        error = cvm_batch_add(attempt->batch, uid, HASH, 1);
    }
    if (attempt->batch && !error)
        error = cvm_import(attempt->cvm, attempt->batch, 1, on_batch, attempt);
    if (attempt->batch)
        wait_for(attempt, error);
    else
        (void)snprintf(attempt->name, sizeof attempt->name, "internal");
    cvm_batch_free(attempt->batch);
}

/* --- The calls, and what the device is before them -------------------------------------------- */

enum before { NOTHING, ADDED, BY_CSR, BY_SERVER };

static const struct operation {
    const char *name;
    enum before before;
    void (*run)(struct attempt *attempt);
    const char *expected; /* without a failure */
} OPERATIONS[] = {
    {"a server's key", ADDED, without_csr, "ok"},
    {"a CSR", ADDED, with_csr, "ok"},
    {"the same CSR again", BY_CSR, with_csr, "ok"},
    {"another CSR", BY_CSR, with_other_csr, "already_registered"},
    {"a server's key again", BY_SERVER, without_csr, "ok"},
    {"a payload", ADDED, by_payload, "ok"},
    {"a payload of CBOR", ADDED, by_cbor, "ok"},
    {"a wrong token", ADDED, with_wrong_token, "not_authorized"},
    {"an unknown device", NOTHING, with_wrong_token, "not_authorized"},
    {"put", NOTHING, put, "ok"},
    {"get", BY_CSR, get, "ok"},
    {"list", BY_CSR, list, "ok"},
    {"disable", BY_CSR, disable, "ok"},
    {"reset", BY_CSR, reset, "ok"},
    {"revoke", BY_CSR, revoke_it, "ok"},
    {"remove", BY_CSR, remove_it, "ok"},
    {"import", NOTHING, import, "ok"},
    {"check", NOTHING, check, "ok"},
};

static uint32_t device_number;

static void prepare(struct attempt *attempt, cvm_t *cvm, enum before before)
{
    struct outcome outcome;
    *attempt = (struct attempt){.cvm = cvm};
    (void)snprintf(attempt->uid, sizeof attempt->uid, "D%u", ++device_number);
    attempt->csr = make_csr();
    attempt->other_csr = make_csr();
    if (before >= ADDED)
        assert_string_equal(device_add(cvm, attempt->uid), "ok");
    if (before >= BY_CSR) {
        (void)register_now(cvm, attempt->uid, before == BY_CSR ? attempt->csr : NULL, &outcome);
        assert_string_equal(outcome.name, "ok");
        outcome_clear(&outcome);
    }
}

static int32_t is_outside(const struct setting *settings)
{
    return strcmp(settings[0].value, "fake:") == 0;
}

/* Nothing of the device's is active without a record. */
static void check_world(const char *uid)
{
    const struct fake_certificate *certificate;
    for (uint32_t i = 0; (certificate = fake_certificate(i)); i++)
        if (strcmp(certificate->uid, uid) == 0 && !certificate->is_deleted &&
            certificate->state == FAKE_ACTIVE && !file_is_recorded(certificate->id))
            fail_msg("%s of %s is active without a record", certificate->id, uid);
    if (fake_violations())
        fail_msg("%s was active without a record", uid);
}

/* What is true whatever has failed. */
static void check_records(const struct attempt *attempt, const struct setting *settings)
{
    const char *uid = attempt->uid;
    int64_t current = sql_number(
        "SELECT count(*) FROM certificates WHERE device_uid = '%s' AND state = 'current'", uid);
    assert_true(current <= 1);
    assert_int_equal(
        sql_number("SELECT count(*) FROM devices d WHERE device_uid = '%s' AND is_registered = 1"
                   " AND is_revoked = 0 AND NOT EXISTS (SELECT 1 FROM certificates c WHERE"
                   " c.certificate_id = d.certificate_id AND c.state = 'current')",
            uid),
        0);
    if (strcmp(attempt->name, "ok") == 0 && *attempt->certificate_id)
        assert_int_equal(sql_number("SELECT count(*) FROM devices WHERE certificate_id = '%s'",
                             attempt->certificate_id),
            1);
    if (is_outside(settings))
        check_world(uid);
}

/* With memory again, the same device can be dealt with. */
static void check_recovery(struct attempt *attempt, const struct operation *operation)
{
    struct outcome outcome;
    cvm_t *cvm = attempt->cvm;
    assert_string_equal(reconcile(cvm), "ok");
    if (operation->before == NOTHING)
        (void)device_add(cvm, attempt->uid);
    if (operation->run == remove_it)
        return;
    sql("UPDATE devices SET lease_until = 1 WHERE device_uid = '%s'", attempt->uid);
    (void)device_enable(cvm, attempt->uid);
    (void)device_reset(cvm, attempt->uid);
    (void)register_now(cvm, attempt->uid, NULL, &outcome);
    if (strcmp(outcome.name, "ok") != 0)
        fail_msg("after %s: %s (%s)", operation->name, outcome.name, outcome.text);
    outcome_clear(&outcome);
}

/* Runs a call whose nth allocation fails; returns how many there were. */
static long run_one(cvm_t *cvm, const struct setting *settings, const struct operation *operation,
    enum owner owner, long nth)
{
    struct attempt attempt;
    prepare(&attempt, cvm, operation->before);
    arm(owner, nth);
    operation->run(&attempt);
    long count = disarm();
    assert_int_equal(attempt.calls, attempt.accepted);
    if (count < nth && strcmp(attempt.name, operation->expected) != 0)
        fail_msg("%s: %s without a failure", operation->name, attempt.name);
    check_records(&attempt, settings);
    check_recovery(&attempt, operation);
    if (is_outside(settings))
        check_world(attempt.uid);
    free(attempt.csr);
    free(attempt.other_csr);
    return count;
}

static void fail_each_of_ours(const struct setting *settings)
{
    cvm_t *cvm = instance_start(settings);
    for (size_t i = 0; i < LENGTH(OPERATIONS); i++) {
        long nth = 1;
        while (run_one(cvm, settings, &OPERATIONS[i], OURS, nth) >= nth)
            nth++;
        print_message(
            "           %s: %s, %ld allocations\n", settings[0].value, OPERATIONS[i].name, nth - 1);
    }
    instance_end(cvm);
}

static const struct setting FAKE[] = {
    {"platform", "fake:"}, {"registration.reissue_after", "0"}, {NULL, NULL}};
static const struct setting PLAIN[] = {
    {"platform", "plain:"}, {"registration.reissue_after", "0"}, {NULL, NULL}};

/* The world is compared with the file, which needs no memory that is counted. */
static int set_up(void **state)
{
    int failed = harness_set_up(state);
    fake_clear(file_is_recorded);
    return failed;
}

static void each_of_our_allocations_fails_once(void **state)
{
    fail_each_of_ours(FAKE);
    (void)harness_tear_down(state);
    (void)set_up(state);
    fail_each_of_ours(PLAIN);
}

/* --- Registrations on the local platform, which signs with OpenSSL ------------------------------
 */

static struct setting local_settings[] = {
    {"platform", NULL}, {"registration.reissue_after", "0"}, {NULL, NULL}};
static const size_t REGISTRATIONS = 7; /* the first of the operations: those that issue no CRL */

/* No reset: its CRL would take a second each. */
static void run_local(
    cvm_t *cvm, const struct operation *operation, enum owner owner, long nth, long *count)
{
    struct attempt attempt;
    struct outcome outcome;
    prepare(&attempt, cvm, operation->before);
    arm(owner, nth);
    operation->run(&attempt);
    *count = disarm();
    assert_int_equal(attempt.calls, attempt.accepted);
    check_records(&attempt, local_settings);
    char uid[40];
    (void)snprintf(uid, sizeof uid, "%s-next", attempt.uid); /* another one registers as ever */
    assert_string_equal(device_add(cvm, uid), "ok");
    (void)register_now(cvm, uid, NULL, &outcome);
    if (strcmp(outcome.name, "ok") != 0)
        fail_msg("%s, %s %ld: then %s (%s)", operation->name, NAMES[owner], nth, outcome.name,
            outcome.text);
    outcome_clear(&outcome);
    free(attempt.csr);
    free(attempt.other_csr);
}

static void each_of_the_local_platforms_fails_once(void **state)
{
    (void)state;
    local_settings[0].value = harness_make_ca();
    cvm_t *cvm = instance_start(local_settings);
    for (size_t i = 0; i < 2; i++) {
        long count = 0, nth = 0;
        do
            run_local(cvm, &OPERATIONS[i], OURS, ++nth, &count);
        while (count >= nth);
    }
    instance_end(cvm);
}

static void some_of_the_libraries_fail(void **state)
{
    uint64_t random = test_seed();
    (void)state;
    print_message("           seed %llu\n", (unsigned long long)test_seed());
    local_settings[0].value = harness_make_ca();
    for (enum owner owner = CRYPTO; owner < OWNERS; owner++) {
        cvm_t *cvm = instance_start(local_settings);
        for (size_t i = 0; i < REGISTRATIONS; i++) {
            long count = 0, ignored;
            run_local(cvm, &OPERATIONS[i], owner, 0, &count);
            for (uint32_t tries = 0; count && tries < 12 * test_scale(); tries++)
                run_local(cvm, &OPERATIONS[i], owner,
                    1 + (long)(test_random(&random) % (uint64_t)count), &ignored);
        }
        instance_end(cvm);
    }
}

/* --- Starting and stopping -------------------------------------------------------------------- */

static void on_started(void *user_data, const cvm_error_t *error)
{
    settle(user_data, error);
}

/* Makes, starts, runs and frees an instance. Returns how many allocations there were. */
static long start_and_stop(const cvm_conf_t *conf, enum owner owner, long nth)
{
    struct attempt attempt = {.calls = 0};
    cvm_t *cvm = NULL;
    arm(owner, nth);
    cvm_error_t *error = cvm_new(conf, &cvm);
    if (!error)
        error = cvm_start(cvm, on_started, &attempt);
    assert_int_equal(error == NULL, cvm != NULL);
    attempt.accepted = error == NULL;
    cvm_error_free(error);
    cvm_free(cvm); /* stops it, and completes the start before */
    long count = disarm();
    assert_int_equal(attempt.calls, attempt.accepted);
    return count;
}

static void starting_survives(void **state)
{
    uint64_t random = test_seed();
    (void)state;
    const struct setting settings[] = {{"platform", harness_make_ca()}, {NULL, NULL}};
    cvm_conf_t *conf = harness_conf(settings);
    long nth = 1;
    while (start_and_stop(conf, OURS, nth) >= nth)
        nth++;
    for (enum owner owner = CRYPTO; owner < OWNERS; owner++) {
        if (owner == UV)
            continue; /* it calls abort() itself when it can't make room for a loop's descriptors */
        long count = start_and_stop(conf, owner, 0);
        for (uint32_t tries = 0; count && tries < 40 * test_scale(); tries++)
            (void)start_and_stop(conf, owner, 1 + (long)(test_random(&random) % (uint64_t)count));
    }
    cvm_conf_free(conf);
    instance_end(instance_start(settings));
}

/* --- The store's file, without an instance ---------------------------------------------------- */

static void ignore_finding(void *argument, const char *line)
{
    (void)line;
    ++*(int *)argument;
}

/* A backup, a look at it, and the backup in place. Returns how many allocations there were. */
static long handle_files(enum owner owner, long nth, const char *backup)
{
    struct cvm_listed listed = {"77", "issuer", "keyCompromise", 1, INT64_C(4000000000000)};
    struct cvm_file_restore restore = {.backup = backup, .listed = &listed, .listed_count = 1};
    struct cvm_file_clock clock = {0, 0};
    char error[256];
    int findings = 0;
    (void)remove(backup);
    arm(owner, nth);
    cvm_answer_t answer = cvm_file_backup(harness_store(), backup, error, sizeof error);
    (void)cvm_file_check(harness_store(), ignore_finding, &findings, error, sizeof error);
    (void)cvm_file_clock(harness_store(), 1, 0, &clock, error, sizeof error);
    if (answer == CVM_ANSWER_OK)
        (void)cvm_file_restore(harness_store(), &restore, error, sizeof error);
    return disarm();
}

static void the_stores_file_survives(void **state)
{
    uint64_t random = test_seed();
    char backup[128];
    (void)state;
    (void)snprintf(backup, sizeof backup, "%s/backup.db", harness_folder());
    cvm_t *cvm = instance_start(FAKE);
    assert_string_equal(device_add(cvm, "DEVICE"), "ok");
    instance_end(cvm);
    long count = handle_files(SQLITE, 0, backup), nth = 1;
    while (handle_files(OURS, nth, backup) >= nth)
        nth++;
    for (uint32_t tries = 0; tries < 60 * test_scale(); tries++)
        (void)handle_files(SQLITE, 1 + (long)(test_random(&random) % (uint64_t)count), backup);
    (void)handle_files(OURS, 0, backup); /* whatever was left in the middle, it ends well */
    cvm = instance_start(FAKE);
    assert_string_equal(device_add(cvm, "DEVICE"), "device_exists");
    assert_int_equal(sql_number("SELECT count(*) FROM certificates WHERE serial = '77'"), 1);
    instance_end(cvm);
}

/* A configuration, without an instance. */
static void a_configuration_survives(void **state)
{
    static const char TEXT[] = "policy.name = one\nstore = file:devices.db\nnone = 1\n";
    long count = 1;
    (void)state;
    for (long nth = 1; count >= nth || nth == 1; nth++) {
        arm(OURS, nth);
        cvm_conf_t *conf = cvm_conf_new();
        cvm_error_t *error = conf ? cvm_conf_set(conf, "policy.name", "x") : NULL;
        cvm_error_free(error);
        char path[128];
        (void)snprintf(path, sizeof path, "%s/cvm.conf", harness_folder());
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        (void)fwrite(TEXT, 1, sizeof TEXT - 1, file);
        (void)fclose(file);
        error = conf ? cvm_conf_load(conf, path) : NULL;
        assert_int_equal(error != NULL, conf != NULL); /* there is always something wrong with it */
        cvm_error_free(error);
        cvm_conf_free(conf);
        count = disarm();
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(each_of_our_allocations_fails_once),
        TEST(each_of_the_local_platforms_fails_once),
        TEST(some_of_the_libraries_fail),
        TEST(starting_survives),
        TEST(the_stores_file_survives),
        TEST(a_configuration_survives),
    };
    if (install())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
