/* Calls out of turn: without what they need, from another thread, in another process, in a
 * callback; after a rest, and while the clock jumps. Each is an error, or works; none crashes or
 * hangs. */
#include "support/faults.h"
#include "support/harness.h"
#include "support/store_file.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uv.h>

#include "base/clock.h"

#define DEVICES  100
#define LONGEST  64
#define MOST_API 256

/* --- What a call wants beside the instance ---------------------------------------------------- */

static cvm_conf_t *conf;
static cvm_request_t *request;
static cvm_batch_t *batch;
static char text[4096];
static const char *const NAMES[] = {"name"}, *const VALUES[] = {"value"};
static atomic_int called; /* callbacks */

static void on_text(void *user_data, const cvm_error_t *error, const char *told)
{
    (void)user_data;
    (void)error;
    (void)told;
    called++;
}

static void on_done(void *user_data, const cvm_error_t *error)
{
    (void)user_data;
    (void)error;
    called++;
}

static void on_result(void *user_data, const cvm_result_t *result)
{
    (void)user_data;
    (void)result;
    called++;
}

static void on_device(void *user_data, const cvm_error_t *error, const cvm_device_t *device)
{
    (void)user_data;
    (void)error;
    (void)device;
    called++;
}

static void on_devices(void *user_data, const cvm_error_t *error,
    const cvm_device_t *const *devices, uint32_t count, const char *cursor)
{
    (void)user_data;
    (void)error;
    (void)devices;
    (void)count;
    (void)cursor;
    called++;
}

static void on_batch(void *user_data, const cvm_error_t *error, cvm_batch_t *written)
{
    (void)user_data;
    (void)error;
    (void)written;
    called++;
}

static void on_due(void *user_data, const cvm_error_t *error, uint64_t leases, uint64_t retirements,
    uint64_t suspensions)
{
    (void)user_data;
    (void)error;
    (void)leases;
    (void)retirements;
    (void)suspensions;
    called++;
}

static void on_finding(void *user_data, const char *line)
{
    (void)user_data;
    (void)line;
}

static void on_unknown(void *user_data, const cvm_error_t *error, uint64_t found)
{
    (void)user_data;
    (void)error;
    (void)found;
    called++;
}

static void on_post(void *argument)
{
    (void)argument;
    called++;
}

static int32_t no_plugin(
    const struct cvm_host_s *host, struct cvm_registry_s *registry, void *user_data)
{
    (void)host;
    (void)registry;
    (void)user_data;
    return 0;
}

static int set_up(void **state)
{
    called = 0;
    conf = conf_new();
    request = cvm_request_new();
    batch = cvm_batch_new(4);
    return !conf || !request || !batch || harness_set_up(state);
}

static int tear_down(void **state)
{
    cvm_conf_free(conf);
    cvm_request_free(request);
    cvm_batch_free(batch);
    return harness_tear_down(state);
}

/* --- Each call of an instance ----------------------------------------------------------------- */

static const char *seen[MOST_API];
static uint32_t seen_count;

/* The name of an error that a call returned, which is freed; "ok" without one. */
static const char *name_of(const char *call, cvm_error_t *error)
{
    static _Thread_local char name[32];
    if (seen_count < MOST_API)
        seen[seen_count++] = call;
    (void)snprintf(name, sizeof name, "%s", cvm_error_name(error));
    cvm_error_free(error);
    return name;
}

#define EXPECT(name, call)                                                                         \
    do {                                                                                           \
        if (strcmp(name_of(#call, call), name) != 0)                                               \
            return #call;                                                                          \
    } while (0)
#define EXPECT_VALUE(value, call)                                                                  \
    do {                                                                                           \
        (void)name_of(#call, NULL);                                                                \
        if ((call) != (value))                                                                     \
            return #call;                                                                          \
    } while (0)

/* Each call that only the thread may make that runs the instance. NULL if all are refused by that
 * name, else the first that is not. */
static const char *call_as_its_thread(cvm_t *cvm, const char *name)
{
    uint64_t id;
    EXPECT(name, cvm_start(cvm, on_done, NULL));
    EXPECT(name, cvm_start_command(cvm, on_done, NULL));
    EXPECT(name, cvm_store_migrate(cvm, 1, on_text, NULL));
    EXPECT(name, cvm_store_copy(cvm, cvm, 1, NULL, on_text, NULL));
    EXPECT(name, cvm_store_thaw(cvm, on_done, NULL));
    EXPECT(name, cvm_listen(cvm));
    EXPECT_VALUE(NULL, cvm_listener(cvm, 0));
    EXPECT(name, cvm_reload(cvm, on_done, NULL));
    EXPECT(name, cvm_stop(cvm, on_done, NULL));
    EXPECT(name, cvm_run(cvm));
    EXPECT_VALUE(-1, cvm_fd(cvm));
    EXPECT_VALUE(-2, cvm_timeout_ms(cvm));
    EXPECT(name, cvm_process(cvm));
    EXPECT_VALUE(0, cvm_is_ready(cvm));
    EXPECT(name, cvm_check(cvm, on_done, NULL));
    EXPECT(name, cvm_check_clock(cvm));
    EXPECT(name, cvm_backup(cvm, "/nonexistent/backup", on_done, NULL));
    EXPECT(name, cvm_register(cvm, request, on_result, NULL, &id));
    EXPECT(name, cvm_handle(cvm, request, NULL, "{}", 2, on_result, NULL, &id));
    EXPECT(name, cvm_cancel(cvm, 1));
    EXPECT(name, cvm_device_get(cvm, "D", on_device, NULL));
    EXPECT(name, cvm_device_find(cvm, CVM_BY_THING_NAME, "D", on_device, NULL));
    EXPECT(name, cvm_device_list(cvm, NULL, 1, on_devices, NULL));
    EXPECT(name, cvm_device_put(cvm, "D", "token-of-D", 1, on_done, NULL));
    EXPECT(name, cvm_device_enable(cvm, "D", on_done, NULL));
    EXPECT(name, cvm_device_disable(cvm, "D", on_done, NULL));
    EXPECT(name, cvm_device_reset(cvm, "D", on_done, NULL));
    EXPECT(name, cvm_device_revoke(cvm, "D", NULL, on_done, NULL));
    EXPECT(name, cvm_device_remove(cvm, "D", 1, on_done, NULL));
    EXPECT(name, cvm_reconcile(cvm, on_done, NULL));
    EXPECT(name, cvm_due(cvm, on_due, NULL));
    EXPECT(name, cvm_find_unknown(cvm, 1, on_unknown, NULL));
    EXPECT(name, cvm_store_check(cvm, on_finding, on_done, NULL));
    EXPECT(name, cvm_settle(cvm, on_done, NULL));
    EXPECT(name, cvm_device_reconcile(cvm, "D", on_done, NULL));
    EXPECT(name, cvm_set_actor(cvm, "user", "1", "command"));
    EXPECT(name, cvm_audit_event(cvm, "event", NAMES, VALUES, 1));
    EXPECT(name, cvm_set_deferred(cvm, 0));
    EXPECT(name, cvm_import(cvm, batch, 0, on_batch, NULL));
    return NULL;
}

/* The others, which any thread may make. */
static const char *call_as_any_thread(cvm_t *cvm, const char *name)
{
    EXPECT(name, cvm_post(cvm, on_post, NULL));
    EXPECT(name, cvm_check_uid(cvm, "D"));
    if (strcmp(name, "ok") == 0)
        EXPECT_VALUE(1, cvm_metrics(cvm, text, sizeof text) > 1);
    else
        EXPECT_VALUE(0, cvm_metrics(cvm, text, sizeof text));
    return NULL;
}

/* A loop of the caller's, and an instance on it. */
struct borrowed {
    uv_loop_t loop;
    cvm_conf_t *conf;
    cvm_t *cvm;
};

static void borrowed_new(struct borrowed *borrowed)
{
    borrowed->conf = harness_conf(NULL);
    assert_int_equal(uv_loop_init(&borrowed->loop), 0);
    assert_null(cvm_new_on_uv(borrowed->conf, &borrowed->loop, &borrowed->cvm));
}

/* The instance was freed: the loop runs out by itself. */
static void borrowed_end(struct borrowed *borrowed)
{
    assert_int_equal(uv_run(&borrowed->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&borrowed->loop), 0);
    cvm_conf_free(borrowed->conf);
}

static void expect_none(const char *call)
{
    if (call)
        fail_msg("%s", call);
}

/* --- What is missing -------------------------------------------------------------------------- */

static const char *leave_out_of_instances(cvm_t *cvm)
{
    static const char *const NAME = "invalid_argument";
    uint64_t id;
    cvm_t *made = NULL;
    EXPECT(NAME, cvm_new(NULL, &made));
    EXPECT(NAME, cvm_new(conf, NULL));
    EXPECT(NAME, cvm_new_on_uv(NULL, uv_default_loop(), &made));
    EXPECT(NAME, cvm_new_on_uv(conf, NULL, &made));
    EXPECT(NAME, cvm_new_on_uv(conf, uv_default_loop(), NULL));
    EXPECT(NAME, cvm_start(cvm, NULL, NULL));
    EXPECT(NAME, cvm_start_command(cvm, NULL, NULL));
    EXPECT(NAME, cvm_reload(cvm, NULL, NULL));
    EXPECT(NAME, cvm_check(cvm, NULL, NULL));
    EXPECT(NAME, cvm_backup(cvm, NULL, on_done, NULL));
    EXPECT(NAME, cvm_backup(cvm, "x", NULL, NULL));
    EXPECT(NAME, cvm_post(cvm, NULL, NULL));
    EXPECT(NAME, cvm_check_uid(cvm, NULL));
    EXPECT_VALUE(0, cvm_metrics(cvm, NULL, 1));
    EXPECT(NAME, cvm_register(cvm, NULL, on_result, NULL, &id));
    EXPECT(NAME, cvm_register(cvm, request, NULL, NULL, &id));
    EXPECT(NAME, cvm_handle(cvm, NULL, NULL, NULL, 1, on_result, NULL, &id));
    EXPECT(NAME, cvm_handle(cvm, NULL, NULL, "{}", 2, NULL, NULL, &id));
    EXPECT(NAME, cvm_device_get(cvm, NULL, on_device, NULL));
    EXPECT(NAME, cvm_device_find(cvm, CVM_BY_THING_NAME, NULL, on_device, NULL));
    EXPECT(NAME, cvm_device_find(cvm, CVM_BY_THING_NAME, "D", NULL, NULL));
    EXPECT(NAME, cvm_device_get(cvm, "D", NULL, NULL));
    EXPECT(NAME, cvm_device_list(cvm, NULL, 1, NULL, NULL));
    EXPECT(NAME, cvm_device_put(cvm, NULL, "token", 1, on_done, NULL));
    EXPECT(NAME, cvm_device_put(cvm, "D", NULL, 1, on_done, NULL));
    EXPECT(NAME, cvm_device_put(cvm, "D", "token", 1, NULL, NULL));
    EXPECT(NAME, cvm_device_enable(cvm, NULL, on_done, NULL));
    EXPECT(NAME, cvm_device_enable(cvm, "D", NULL, NULL));
    EXPECT(NAME, cvm_device_disable(cvm, NULL, on_done, NULL));
    EXPECT(NAME, cvm_device_reset(cvm, "D", NULL, NULL));
    EXPECT(NAME, cvm_device_revoke(cvm, NULL, NULL, on_done, NULL));
    EXPECT(NAME, cvm_device_revoke(cvm, "D", NULL, NULL, NULL));
    EXPECT(NAME, cvm_device_remove(cvm, NULL, 1, on_done, NULL));
    EXPECT(NAME, cvm_device_remove(cvm, "D", 1, NULL, NULL));
    EXPECT(NAME, cvm_reconcile(cvm, NULL, NULL));
    EXPECT(NAME, cvm_due(cvm, NULL, NULL));
    EXPECT(NAME, cvm_find_unknown(cvm, 1, NULL, NULL));
    EXPECT(NAME, cvm_store_check(cvm, NULL, on_done, NULL));
    EXPECT(NAME, cvm_store_check(cvm, on_finding, NULL, NULL));
    EXPECT(NAME, cvm_settle(cvm, NULL, NULL));
    EXPECT(NAME, cvm_store_migrate(cvm, 0, NULL, NULL));
    EXPECT(NAME, cvm_store_copy(NULL, cvm, 0, NULL, on_text, NULL));
    EXPECT(NAME, cvm_store_copy(cvm, NULL, 0, NULL, on_text, NULL));
    EXPECT(NAME, cvm_store_copy(cvm, cvm, 0, NULL, NULL, NULL));
    EXPECT(NAME, cvm_store_thaw(cvm, NULL, NULL));
    EXPECT(NAME, cvm_device_reconcile(cvm, NULL, on_done, NULL));
    EXPECT(NAME, cvm_audit_event(cvm, NULL, NAMES, VALUES, 1));
    EXPECT(NAME, cvm_audit_event(cvm, "event", NULL, VALUES, 1));
    EXPECT(NAME, cvm_audit_event(cvm, "event", NAMES, NULL, 1));
    EXPECT(NAME, cvm_import(cvm, NULL, 0, on_batch, NULL));
    EXPECT(NAME, cvm_import(cvm, batch, 0, NULL, NULL));
    return NULL;
}

static const char *leave_out_of_the_rest(void)
{
    static const char *const NAME = "invalid_argument";
    char token[65];
    size_t length = 1;
    EXPECT(NAME, cvm_conf_set(NULL, "store", "file:x"));
    EXPECT(NAME, cvm_conf_set(conf, NULL, "file:x"));
    EXPECT(NAME, cvm_conf_set(conf, "store", NULL));
    EXPECT_VALUE(NULL, cvm_conf_get(NULL, "store"));
    EXPECT_VALUE(NULL, cvm_conf_get(conf, NULL));
    EXPECT_VALUE(0, cvm_conf_number(NULL, "workers"));
    EXPECT_VALUE(0, cvm_conf_number(conf, NULL));
    EXPECT(NAME, cvm_conf_load(NULL, "x"));
    EXPECT(NAME, cvm_conf_load(conf, NULL));
    EXPECT(NAME, cvm_conf_load_environment(NULL, NULL, NULL));
    EXPECT(NAME, cvm_conf_set_log(NULL, NULL, NULL));
    EXPECT(NAME, cvm_conf_set_audit(NULL, NULL, NULL));
    EXPECT(NAME, cvm_conf_add_plugin(NULL, no_plugin, NULL));
    EXPECT(NAME, cvm_conf_add_plugin(conf, NULL, NULL));
    EXPECT(NAME, cvm_conf_load_modules(NULL));
    EXPECT(NAME, cvm_request_set_uid(NULL, "D"));
    EXPECT(NAME, cvm_request_set_uid(request, NULL));
    EXPECT(NAME, cvm_request_set_token(NULL, "t"));
    EXPECT(NAME, cvm_request_set_token(request, NULL));
    EXPECT(NAME, cvm_request_set_accept(NULL, "x"));
    EXPECT(NAME, cvm_request_set_accept(request, NULL));
    EXPECT(NAME, cvm_request_set_csr(NULL, "c", 1));
    EXPECT(NAME, cvm_request_set_csr(request, NULL, 1));
    EXPECT(NAME, cvm_request_set_peer(NULL, "::1"));
    EXPECT(NAME, cvm_request_set_peer(request, NULL));
    EXPECT(NAME, cvm_request_set_transport(NULL, "api"));
    EXPECT(NAME, cvm_request_set_transport(request, NULL));
    EXPECT(NAME, cvm_request_set_id(NULL, "id"));
    EXPECT(NAME, cvm_request_set_id(request, NULL));
    EXPECT(NAME, cvm_request_set_deadline_ms(NULL, 1));
    EXPECT(NAME, cvm_token(NULL, 1, "D", NULL, 0, token));
    EXPECT(NAME, cvm_token("s", 1, NULL, NULL, 0, token));
    EXPECT(NAME, cvm_token("s", 1, "D", NULL, 0, NULL));
    EXPECT(NAME, cvm_batch_add(NULL, "D", text, 1));
    EXPECT(NAME, cvm_batch_add(batch, NULL, text, 1));
    EXPECT(NAME, cvm_batch_add(batch, "D", NULL, 1));
    EXPECT(NAME, cvm_batch_clear(NULL));
    EXPECT(NAME, cvm_batch_set_part(NULL, 1));
    EXPECT_VALUE(0, cvm_batch_count(NULL));
    EXPECT_VALUE(NULL, cvm_batch_uid(NULL, 0));
    EXPECT_VALUE(-1, cvm_batch_row(NULL, 0));
    EXPECT_VALUE(500, cvm_error_render(NULL, NULL, NULL, text, sizeof text));
    EXPECT_VALUE(403, cvm_error_render("not_authorized", NULL, NULL, NULL, 0));
    EXPECT_VALUE(NULL, cvm_result_body(NULL, &length));
    EXPECT_VALUE(0, length);
    return NULL;
}

static const char *ask_null(void)
{
    EXPECT_VALUE(0, cvm_error_code(NULL));
    EXPECT_VALUE(0, strcmp(cvm_error_name(NULL), "ok"));
    EXPECT_VALUE(1, *cvm_error_text(NULL) != 0);
    EXPECT_VALUE(0, *cvm_error_subject(NULL));
    EXPECT_VALUE(0, *cvm_error_step(NULL));
    EXPECT_VALUE(0, cvm_error_retryable(NULL));
    EXPECT_VALUE(0, cvm_error_retry_after_s(NULL));
    EXPECT_VALUE(NULL, cvm_result_error(NULL));
    EXPECT_VALUE(NULL, cvm_result_request_id(NULL));
    EXPECT_VALUE(NULL, cvm_result_endpoint(NULL));
    EXPECT_VALUE(NULL, cvm_result_thing_name(NULL));
    EXPECT_VALUE(NULL, cvm_result_device_certificate(NULL));
    EXPECT_VALUE(NULL, cvm_result_root_ca(NULL));
    EXPECT_VALUE(NULL, cvm_result_certificate_id(NULL));
    EXPECT_VALUE(NULL, cvm_result_public_key(NULL));
    EXPECT_VALUE(NULL, cvm_result_private_key(NULL));
    EXPECT_VALUE(NULL, cvm_result_server_time(NULL));
    EXPECT_VALUE(0, cvm_result_http_status(NULL));
    EXPECT_VALUE(NULL, cvm_device_uid(NULL));
    EXPECT_VALUE(0, cvm_device_is_enabled(NULL));
    EXPECT_VALUE(0, cvm_device_is_registered(NULL));
    EXPECT_VALUE(0, cvm_device_is_revoked(NULL));
    EXPECT_VALUE(NULL, cvm_device_thing_name(NULL));
    EXPECT_VALUE(NULL, cvm_device_registered_on(NULL));
    EXPECT_VALUE(NULL, cvm_device_certificate_id(NULL));
    EXPECT_VALUE(NULL, cvm_device_lease(NULL));
    EXPECT_VALUE(NULL, cvm_device_certificate(NULL, 0));
    EXPECT_VALUE(NULL, cvm_certificate_id(NULL));
    EXPECT_VALUE(NULL, cvm_certificate_state(NULL));
    EXPECT_VALUE(NULL, cvm_certificate_serial(NULL));
    EXPECT_VALUE(NULL, cvm_certificate_not_before(NULL));
    EXPECT_VALUE(NULL, cvm_result_certificate(NULL));
    EXPECT_VALUE(NULL, cvm_result_chain(NULL));
    EXPECT_VALUE(NULL, cvm_result_media_type(NULL));
    EXPECT_VALUE(NULL, cvm_device_gap(NULL));
    EXPECT_VALUE(NULL, cvm_certificate_not_after(NULL));
    EXPECT_VALUE(NULL, cvm_certificate_revoke_after(NULL));
    EXPECT_VALUE(NULL, cvm_certificate_reason(NULL));
    EXPECT_VALUE(NULL, cvm_certificate_pem(NULL));
    return NULL;
}

/* Those that take no pointer, or free what they are handed. */
static const char *const OTHERS[] = {"cvm_version", "cvm_version_number", "cvm_backend",
    "cvm_conf_new", "cvm_request_new", "cvm_batch_new", "cvm_property_count", "cvm_property_name",
    "cvm_property_type", "cvm_property_default", "cvm_property_range", "cvm_property_help",
    "cvm_property_is_secret", "cvm_property_needs_restart", "cvm_free", "cvm_conf_free",
    "cvm_request_free", "cvm_batch_free", "cvm_error_free"};

static int is_seen(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < LENGTH(OTHERS); i++)
        if (strcmp(OTHERS[i], name) == 0)
            return 1;
    for (uint32_t i = 0; i < seen_count; i++) {
        const char *call = strstr(seen[i], name);
        if (call && call[length] == '(')
            return 1;
    }
    return 0;
}

/* Whatever cvm.h declares was called above. */
static void expect_all_seen(void)
{
    static char header[1 << 17];
    FILE *file = fopen(CVM_HEADER, "r");
    assert_non_null(file);
    header[fread(header, 1, sizeof header - 1, file)] = 0;
    (void)fclose(file);
    uint32_t count = 0;
    for (const char *at = header; (at = strstr(at, "\nCVM_API ")); count++) {
        char name[LONGEST];
        const char *end = strchr(++at, '(');
        const char *begin = end;
        while (begin[-1] == '_' || (begin[-1] >= 'a' && begin[-1] <= 'z') ||
               (begin[-1] >= '0' && begin[-1] <= '9'))
            begin--;
        (void)snprintf(name, sizeof name, "%.*s", (int)(end - begin), begin);
        if (!is_seen(name))
            fail_msg("%s is called by no test here", name);
    }
    assert_true(count > 100);
}

static void what_is_missing_is_an_error(void **state)
{
    (void)state;
    expect_none(call_as_its_thread(NULL, "invalid_argument"));
    expect_none(call_as_any_thread(NULL, "invalid_argument"));
    expect_none(leave_out_of_the_rest());
    expect_none(ask_null());
    cvm_free(NULL);
    cvm_conf_free(NULL);
    cvm_request_free(NULL);
    cvm_batch_free(NULL);
    cvm_error_free(NULL);
    cvm_t *cvm = instance_start(NULL);
    expect_none(leave_out_of_instances(cvm));
    assert_int_equal(called, 0);
    instance_end(cvm);
    expect_all_seen();
}

/* --- Another thread --------------------------------------------------------------------------- */

static void *call_from_here(void *argument)
{
    static const char *refused;
    refused = call_as_its_thread(argument, "wrong_thread");
    if (!refused)
        refused = call_as_any_thread(argument, "ok");
    return (void *)(uintptr_t)refused;
}

static void another_thread_is_refused(void **state)
{
    pthread_t thread;
    void *refused = NULL;
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    assert_int_equal(pthread_create(&thread, NULL, call_from_here, cvm), 0);
    (void)pthread_join(thread, &refused);
    expect_none(refused);
    turn_for(50);
    assert_int_equal(called, 1); /* what it posted */
    assert_string_equal(device_add(cvm, "D"), "ok");
    instance_end(cvm);
}

static void *run_to_the_end(void *argument)
{
    cvm_error_free(cvm_run(argument));
    return NULL;
}

static void stop_it(void *argument)
{
    cvm_error_free(cvm_stop(argument, NULL, NULL));
}

/* Until it runs, and when it has stopped, an instance is nobody's. */
static void an_instance_is_handed_on_before_and_after(void **state)
{
    pthread_t thread;
    cvm_t *cvm = NULL;
    (void)state;
    cvm_conf_t *own = harness_conf(NULL);
    for (int i = 0; i < 2; i++) { /* freed here, or by whoever ran it */
        assert_null(cvm_new(own, &cvm));
        assert_null(cvm_start(cvm, on_done, NULL));
        assert_int_equal(pthread_create(&thread, NULL, run_to_the_end, cvm), 0);
        if (i == 0) {
            assert_null(cvm_post(cvm, stop_it, cvm));
            (void)pthread_join(thread, NULL);
            assert_int_equal(cvm_is_ready(cvm), 0);
            assert_null(cvm_run(cvm));
            cvm_free(cvm);
        } else {
            while (called < 2) /* it has started: it runs */
                (void)usleep(1000);
            cvm_free(cvm);
            (void)pthread_join(thread, NULL);
        }
    }
    cvm_conf_free(own);
}

/* --- Another process -------------------------------------------------------------------------- */

static int wait_for(pid_t child)
{
    int status = -1;
    for (int i = 0; i < 3000 && waitpid(child, &status, WNOHANG) == 0; i++)
        (void)usleep(10000);
    return status;
}

/* 100 in flight; the child makes each call and frees the instance; all 100 complete. */
static void a_child_of_fork_is_refused_and_the_parent_goes_on(void **state)
{
    static struct outcome outcomes[DEVICES];
    char uid[16];
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    for (int i = 0; i < DEVICES; i++) {
        (void)snprintf(uid, sizeof uid, "D%d", i);
        assert_string_equal(device_add(cvm, uid), "ok");
    }
    faults_plan("create_certificate", 0, FAULT_HOLD_AFTER);
    for (int i = 0; i < DEVICES; i++) {
        (void)snprintf(uid, sizeof uid, "D%d", i);
        register_start(cvm, uid, token_of(uid), NULL, 0, &outcomes[i]);
    }
    turn_until_held(DEVICES);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)alarm(20);
        const char *wrong = call_as_its_thread(cvm, "wrong_process");
        if (!wrong)
            wrong = call_as_any_thread(cvm, "wrong_process");
        cvm_free(cvm);
        if (wrong)
            (void)dprintf(2, "in the child: %s\n", wrong);
        _exit(wrong != NULL);
    }
    assert_int_equal(wait_for(child), 0);
    faults_release();
    for (int i = 0; i < DEVICES; i++) {
        outcome_wait(&outcomes[i]);
        assert_string_equal(outcomes[i].name, "ok");
        outcome_clear(&outcomes[i]);
    }
    assert_int_equal(called, 0);
    instance_end(cvm);
}

#ifndef __SANITIZE_THREAD__ /* which takes no new threads in such a child */
/* What came of the start of an instance on that store, in a child: "ok". */
static const char *start_there(const char *store, int is_command)
{
    static struct finish finish;
    cvm_t *own = NULL;
    cvm_conf_t *settings = harness_conf(NULL);
    finish = (struct finish){.calls = 0};
    cvm_error_t *error = cvm_conf_set(settings, "store", store);
    if (!error)
        error = cvm_conf_set(settings, "store.create", "true");
    if (!error)
        error = cvm_new(settings, &own);
    if (!error)
        error = (is_command ? cvm_start_command : cvm_start)(own, finished, &finish);
    while (!error && !finish.calls)
        error = cvm_process(own);
    cvm_free(own);
    return error ? cvm_error_text(error) : *finish.text ? finish.text : finish.name;
}

/* And one of its own, as good as new; but not on the store that its parent has open: what locks
 * SQLite believes to have there are the parent's. */
static void a_child_of_fork_makes_its_own(void **state)
{
    char other[160], same[160];
    (void)state;
    (void)snprintf(other, sizeof other, "file:%s/other.db", harness_folder());
    (void)snprintf(same, sizeof same, "file:%s", harness_store());
    cvm_t *cvm = instance_start(NULL);
    assert_string_equal(device_add(cvm, "D"), "ok");
    turn_for(20); /* no thread is at work in the library */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)alarm(20);
        cvm_free(cvm);
        const char *of_other = start_there(other, 0);
        if (strcmp(of_other, "success") != 0)
            (void)dprintf(2, "another store: %s\n", of_other);
        int failed = strcmp(of_other, "success") != 0;
        const char *of_same = start_there(same, 1);
        if (!strstr(of_same, "a child of"))
            (void)dprintf(2, "the same store: %s\n", of_same);
        _exit(failed || !strstr(of_same, "a child of"));
    }
    assert_int_equal(wait_for(child), 0);
    assert_string_equal(device_disable(cvm, "D"), "ok");
    instance_end(cvm);
}
#endif

/* The caller's loop, which a child may run on: what is on it is the parent's all the same. */
static void a_child_that_runs_the_inherited_loop_does_nothing(void **state)
{
    struct borrowed borrowed;
    (void)state;
    borrowed_new(&borrowed);
    assert_null(cvm_start(borrowed.cvm, on_done, NULL));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)alarm(20);
        (void)uv_loop_fork(&borrowed.loop);
        for (int i = 0; i < 20; i++) {
            (void)uv_run(&borrowed.loop, UV_RUN_NOWAIT);
            (void)usleep(5000);
        }
        _exit(called);
    }
    assert_int_equal(wait_for(child), 0);
    while (!called)
        (void)uv_run(&borrowed.loop, UV_RUN_ONCE);
    cvm_free(borrowed.cvm);
    borrowed_end(&borrowed);
}

/* --- In a callback ---------------------------------------------------------------------------- */

enum deed { PROCESS, RUN, FREE, STOP_AND_FREE };

struct nested {
    cvm_t *cvm;
    enum deed deed;
    char name[32]; /* of what the deed was answered */
};

static void do_the_deed(void *user_data, const cvm_error_t *error)
{
    struct nested *nested = user_data;
    assert_null(error);
    called++;
    cvm_error_t *refused = NULL;
    if (nested->deed == PROCESS)
        refused = cvm_process(nested->cvm);
    else if (nested->deed == RUN)
        refused = cvm_run(nested->cvm);
    else if (nested->deed == STOP_AND_FREE)
        refused = cvm_stop(nested->cvm, on_done, NULL);
    (void)snprintf(nested->name, sizeof nested->name, "%s", cvm_error_name(refused));
    cvm_error_free(refused);
    if (nested->deed == FREE || nested->deed == STOP_AND_FREE)
        cvm_free(nested->cvm);
}

static void start_nested(struct nested *nested, const cvm_conf_t *own, enum deed deed)
{
    *nested = (struct nested){NULL, deed, ""};
    called = 0;
    assert_null(cvm_new(own, &nested->cvm));
    assert_null(cvm_start(nested->cvm, do_the_deed, nested));
}

static void the_loop_is_not_run_in_a_callback(void **state)
{
    struct nested nested;
    (void)state;
    cvm_conf_t *own = harness_conf(NULL);
    for (enum deed deed = PROCESS; deed <= RUN; deed++) {
        start_nested(&nested, own, deed);
        while (!called)
            assert_null(cvm_process(nested.cvm));
        assert_string_equal(nested.name, "conflict");
        cvm_free(nested.cvm);
    }
    cvm_conf_free(own);
}

/* cvm_run() and cvm_process() return when it is gone. */
static void an_instance_is_freed_in_a_callback(void **state)
{
    struct nested nested;
    (void)state;
    cvm_conf_t *own = harness_conf(NULL);
    for (enum deed deed = FREE; deed <= STOP_AND_FREE; deed++) {
        start_nested(&nested, own, deed);
        assert_null(cvm_run(nested.cvm));
        assert_int_equal(called, deed == FREE ? 1 : 2);
        start_nested(&nested, own, deed);
        while (!called)
            assert_null(cvm_process(nested.cvm));
        assert_int_equal(called, deed == FREE ? 1 : 2);
        assert_string_equal(nested.name, "ok");
    }
    cvm_conf_free(own);
}

static void an_instance_on_a_borrowed_loop_is_freed_in_a_callback(void **state)
{
    (void)state;
    for (enum deed deed = FREE; deed <= STOP_AND_FREE; deed++) {
        struct borrowed borrowed;
        called = 0;
        borrowed_new(&borrowed);
        struct nested nested = {borrowed.cvm, deed, ""};
        assert_null(cvm_start(borrowed.cvm, do_the_deed, &nested));
        borrowed_end(&borrowed);
        assert_int_equal(called, deed == FREE ? 1 : 2);
    }
}

static void a_borrowed_loop_is_the_callers_to_run(void **state)
{
    struct borrowed borrowed;
    (void)state;
    borrowed_new(&borrowed);
    assert_string_equal(name_of("", cvm_process(borrowed.cvm)), "conflict");
    assert_string_equal(name_of("", cvm_run(borrowed.cvm)), "conflict");
    assert_int_equal(cvm_fd(borrowed.cvm), -1);
    assert_int_equal(cvm_timeout_ms(borrowed.cvm), -2);
    cvm_free(borrowed.cvm);
    borrowed_end(&borrowed);
}

/* --- A batch that is being written ------------------------------------------------------------ */

static void a_batch_that_is_being_written_is_left_alone(void **state)
{
    char hash[65];
    (void)state;
    memset(hash, 'a', 64);
    hash[64] = 0;
    cvm_t *cvm = instance_start(NULL);
    cvm_batch_t *own = cvm_batch_new(4);
    assert_null(cvm_batch_add(own, "D1", hash, 1));
    assert_null(cvm_import(cvm, own, 0, on_batch, NULL));
    assert_string_equal(name_of("", cvm_batch_add(own, "D2", hash, 1)), "conflict");
    assert_string_equal(name_of("", cvm_batch_clear(own)), "conflict");
    assert_string_equal(name_of("", cvm_batch_set_part(own, 1)), "conflict");
    assert_string_equal(name_of("", cvm_import(cvm, own, 0, on_batch, NULL)), "conflict");
    cvm_batch_free(own); /* when it is written */
    for (int i = 0; i < 1000 && !called; i++)
        turn();
    assert_int_equal(called, 1);
    assert_int_equal(sql_number("SELECT count(*) FROM devices"), 1);
    instance_end(cvm);
}

/* --- Rest and jumps --------------------------------------------------------------------------- */

static const struct setting HASTE[] = {{"request.deadline", "100ms"}, {NULL, NULL}};

static void rest_ms(uint32_t ms)
{
    (void)usleep(ms * 1000);
}

/* A loop that nobody ran for longer than any deadline, before each call that has one. */
static void what_is_asked_after_a_rest_has_its_whole_time(void **state)
{
    struct outcome outcome;
    struct view view;
    (void)state;
    cvm_t *cvm = instance_start(HASTE);
    rest_ms(150);
    assert_string_equal(device_add(cvm, "D"), "ok");
    rest_ms(150);
    assert_string_equal(register_now(cvm, "D", NULL, &outcome), "ok");
    outcome_clear(&outcome);
    rest_ms(150);
    handle_start(cvm, NULL, "{\"device_uid\": \"D\", \"device_token\": \"x\"}", &outcome);
    outcome_wait(&outcome);
    assert_string_equal(outcome.name, "not_authorized");
    outcome_clear(&outcome);
    rest_ms(150);
    assert_string_equal(device_disable(cvm, "D"), "ok");
    rest_ms(150);
    assert_string_equal(device_enable(cvm, "D"), "ok");
    rest_ms(150);
    assert_string_equal(device_revoke(cvm, "D", NULL), "ok");
    rest_ms(150);
    assert_string_equal(reconcile(cvm), "ok");
    rest_ms(150);
    device_view(cvm, "D", &view);
    assert_string_equal(view.name, "ok");
    rest_ms(150);
    instance_end(cvm);
}

/* What is in flight when a stop comes after a long rest has the time that a stop has. */
static void a_stop_after_a_rest_waits_for_what_is_in_flight(void **state)
{
    struct outcome outcome;
    int is_stopped = 0;
    (void)state;
    cvm_t *cvm = instance_start(HASTE);
    assert_string_equal(device_add(cvm, "D"), "ok");
    rest_ms(5300); /* request.deadline and 5 s */
    faults_plan("create_certificate", 1, FAULT_HOLD_AFTER);
    register_start(cvm, "D", token_of("D"), NULL, 10000, &outcome);
    instance_stop(cvm, &is_stopped);
    turn_until_held(1);
    turn_for(100);
    assert_false(is_stopped);
    faults_release();
    outcome_wait(&outcome);
    assert_string_equal(outcome.name, "ok");
    outcome_clear(&outcome);
    turn_until(&is_stopped, 1);
    assert_int_equal(lines_with("log", "did not end in time"), 0);
    instance_free(cvm);
}

#define SECOND INT64_C(1000)
#define DAY    (24 * 3600 * SECOND)
#define YEARS  (10 * 365 * DAY)

/* Both clocks; wall clocks are set, and the other one goes on while a machine sleeps. */
static void jumps_of_the_clock_lose_nothing(void **state)
{
    static const int64_t JUMPS[] = {SECOND, -SECOND, DAY, -DAY, YEARS, -YEARS};
    static struct outcome outcomes[DEVICES];
    char uid[16];
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    for (size_t jump = 0; jump < LENGTH(JUMPS); jump++) {
        for (int i = 0; i < 10; i++) {
            (void)snprintf(uid, sizeof uid, "D%zu-%d", jump, i);
            assert_string_equal(device_add(cvm, uid), "ok");
            register_start(cvm, uid, token_of(uid), NULL, 0, &outcomes[i]);
            cvm_clock_turn(i % 2 ? JUMPS[jump] : 0, i % 4 > 1 ? JUMPS[jump] : 0);
            turn();
        }
        for (int i = 0; i < 10; i++) {
            cvm_clock_turn(i % 2 ? JUMPS[jump] : 0, i % 4 > 1 ? JUMPS[jump] : 0);
            outcome_wait(&outcomes[i]);
            assert_string_equal(outcomes[i].name, "ok");
            outcome_clear(&outcomes[i]);
        }
        assert_string_equal(reconcile(cvm), "ok");
    }
    cvm_clock_turn(0, 0);
    instance_end(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_missing_is_an_error),
        TEST(another_thread_is_refused),
        TEST(an_instance_is_handed_on_before_and_after),
        TEST(a_child_of_fork_is_refused_and_the_parent_goes_on),
#ifndef __SANITIZE_THREAD__
        TEST(a_child_of_fork_makes_its_own),
#endif
        TEST(a_child_that_runs_the_inherited_loop_does_nothing),
        TEST(the_loop_is_not_run_in_a_callback),
        TEST(an_instance_is_freed_in_a_callback),
        TEST(an_instance_on_a_borrowed_loop_is_freed_in_a_callback),
        TEST(a_borrowed_loop_is_the_callers_to_run),
        TEST(a_batch_that_is_being_written_is_left_alone),
        TEST(what_is_asked_after_a_rest_has_its_whole_time),
        TEST(a_stop_after_a_rest_waits_for_what_is_in_flight),
        TEST(jumps_of_the_clock_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
