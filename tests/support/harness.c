/* The harness: see its header. */
#include "support/harness.h"

#include <dirent.h>
#include <poll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "backends/local/local.h"
#include "support/dynamodb.h"
#include "support/fake_platform.h"
#include "support/faults.h"
#include "support/faulty_store.h"
#include "support/lacking.h"
#include "support/postgresql.h"
#include "support/records.h"

#define MOST_INSTANCES 16
#define PATIENCE_S     60

static char folder[64], store_path[96], platform_value[128];
static cvm_t *instances[MOST_INSTANCES];
static uint32_t instance_count;
static int inside_call; /* a callback that runs now is run too early */
static cvm_t *beside;
static void (*at_end)(void);
static int is_made; /* the store, by the first instance */

/* Stores that have a server of their own. */
static const struct server {
    const char *store;
    int (*start)(void **state);
    int (*stop)(void **state);
    const struct setting *(*settings)(int is_new);
    const char *(*location)(void);
} SERVERS[] = {
    {"postgresql", postgresql_start, postgresql_stop, postgresql_settings, postgresql_location},
    {"dynamodb", dynamodb_start, dynamodb_stop, dynamodb_settings, dynamodb_location},
};
static const struct server *server; /* NULL: the file store */

/* --- The folder ------------------------------------------------------------------------------- */

static void remove_tree(const char *path)
{
    struct stat status;
    if (lstat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        DIR *tree = opendir(path);
        const struct dirent *entry;
        while (tree && (entry = readdir(tree))) {
            char below[1024];
            (void)snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                remove_tree(below);
        }
        if (tree)
            (void)closedir(tree);
    }
    (void)remove(path);
}

int harness_begin(void **state)
{
    const char *kind = getenv("CVM_TEST_STORE");
    for (size_t i = 0; kind && i < LENGTH(SERVERS); i++)
        if (strcmp(SERVERS[i].store, kind) == 0)
            server = &SERVERS[i];
    if (!server && kind && strcmp(kind, "file") != 0)
        return -1;
    return server ? server->start(state) : 0;
}

int harness_end(void **state)
{
    return server ? server->stop(state) : 0;
}

int harness_has_server(void)
{
    return server != NULL;
}

int harness_set_up(void **state)
{
    (void)state;
    if (server)
        (void)server->settings(1);
    is_made = 0;
    /* In memory if there is such a folder: what a disk does is tested elsewhere. */
    (void)snprintf(folder, sizeof folder, "%s/cvm-test-XXXXXX",
        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(store_path, sizeof store_path, "%s/devices.db", folder);
    instance_count = 0;
    inside_call = 0;
    faults_release();
    faults_clear();
    fake_clear(is_recorded);
    return 0;
}

int harness_tear_down(void **state)
{
    (void)state;
    while (instance_count) { /* a test that failed left them */
        faults_release();
        instance_end(instances[0]);
    }
    beside = NULL;
    time_is_restored();
    if (at_end)
        at_end();
    at_end = NULL;
    remove_tree(folder);
    fake_clear(NULL);
    return 0;
}

void harness_at_end(void (*call)(void))
{
    assert_true(!at_end || at_end == call);
    at_end = call;
}

void harness_remove_folder(void)
{
    remove_tree(folder);
}

const char *harness_folder(void)
{
    return folder;
}

const char *harness_store(void)
{
    return store_path;
}

const char *harness_make_ca(void)
{
    char path[96], key[96], error[200] = "";
    (void)snprintf(path, sizeof path, "%s/ca", folder);
    (void)snprintf(key, sizeof key, "%s/root.key", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    if (cvm_local_init(path, key, NULL, NULL, error, sizeof error))
        fail_msg("%s", error);
    (void)snprintf(platform_value, sizeof platform_value, "local:%s", path);
    return platform_value;
}

const char *harness_ca(void)
{
    return platform_value;
}

int crl_lists(const char *serial)
{
    char path[128];
    X509_REVOKED *entry = NULL;
    BIGNUM *number = NULL;
    (void)snprintf(path, sizeof path, "%s/ca/crl.pem", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    X509_CRL *crl = PEM_read_X509_CRL(file, NULL, NULL, NULL);
    (void)fclose(file);
    assert_non_null(crl);
    assert_true(BN_hex2bn(&number, serial) > 0);
    ASN1_INTEGER *wanted = BN_to_ASN1_INTEGER(number, NULL);
    int is_listed = X509_CRL_get0_by_serial(crl, &entry, wanted) == 1;
    ASN1_INTEGER_free(wanted);
    BN_free(number);
    X509_CRL_free(crl);
    return is_listed;
}

/* --- Instances -------------------------------------------------------------------------------- */

static void set(cvm_conf_t *conf, const char *name, const char *format, const char *text)
{
    char value[200];
    (void)snprintf(value, sizeof value, format, text);
    cvm_error_t *error = cvm_conf_set(conf, name, value);
    if (error)
        fail_msg("%s", cvm_error_text(error));
}

/* The test's store, or another one that wraps it, by its name alone. */
static void set_store(cvm_conf_t *conf, const char *name)
{
    char value[200];
    if (server) {
        const struct setting *settings = server->settings(0);
        for (uint32_t i = 0; settings[i].name; i++)
            if (strcmp(settings[i].name, "role") != 0 && strcmp(settings[i].name, "store") != 0)
                set(conf, settings[i].name, "%s", settings[i].value);
    }
    (void)snprintf(value, sizeof value, "%s:%s",
        name     ? name
        : server ? server->store
                 : "file",
        server ? server->location() : store_path);
    set(conf, "store", "%s", value);
}

cvm_conf_t *conf_new(void)
{
    static const cvm_plugin_fn PLUGINS[] = {plugin_faulty, plugin_fake, plugin_lacking};
    cvm_conf_t *conf = cvm_conf_new();
    assert_non_null(conf);
    for (size_t i = 0; i < LENGTH(PLUGINS); i++) {
        cvm_error_t *error = cvm_conf_add_plugin(conf, PLUGINS[i], NULL);
        if (error)
            fail_msg("%s", cvm_error_text(error));
    }
    return conf;
}

cvm_conf_t *harness_conf(const struct setting *settings)
{
    cvm_conf_t *conf = conf_new();
    set_store(conf, NULL);
    set(conf, "store.create", "%s", "true");
    set(conf, "platform", "%s", "fake:");
    set(conf, "http.listen", "%s", "off");
    set(conf, "reconcile.interval", "%s", "0");
    set(conf, "log.file", "%s/log", folder);
    set(conf, "audit.file", "%s/audit", folder);
    for (; settings && settings->name; settings++) {
        if (strcmp(settings->name, "role") == 0)
            continue;
        if (strcmp(settings->name, "store") == 0 && !strchr(settings->value, ':'))
            set_store(conf, settings->value);
        else
            set(conf, settings->name, "%s", settings->value);
    }
    return conf;
}

struct started {
    int is_done;
    char why[256];
};

static void started(void *user_data, const cvm_error_t *error)
{
    struct started *start = user_data;
    assert_false(inside_call);
    start->is_done++;
    if (error)
        (void)snprintf(start->why, sizeof start->why, "%s", cvm_error_text(error));
}

/* A store that is missing needs a server; else there may be one. */
static int is_server(const struct setting *settings)
{
    for (; settings && settings->name; settings++)
        if (strcmp(settings->name, "role") == 0)
            return strcmp(settings->value, "server") == 0;
    return server ? !is_made : access(store_path, F_OK) != 0;
}

cvm_t *instance_new(cvm_conf_t *conf, char *why, size_t size)
{
    cvm_t *cvm = NULL;
    cvm_error_t *error = cvm_new(conf, &cvm);
    cvm_conf_free(conf);
    if (error) {
        (void)snprintf(why, size, "%s", cvm_error_text(error));
        cvm_error_free(error);
        assert_null(cvm);
        return NULL;
    }
    assert_true(instance_count < MOST_INSTANCES);
    instances[instance_count++] = cvm;
    return cvm;
}

cvm_t *instance_try(const struct setting *settings, char *why, size_t size)
{
    cvm_t *cvm = instance_new(harness_conf(settings), why, size);
    if (!cvm)
        return NULL;
    struct started start = {0, ""};
    inside_call = 1;
    cvm_error_t *error =
        (is_server(settings) ? cvm_start : cvm_start_command)(cvm, started, &start);
    inside_call = 0;
    assert_null(error);
    turn_until(&start.is_done, 1);
    (void)snprintf(why, size, "%s", start.why);
    is_made |= !*start.why;
    if (!*start.why)
        return cvm;
    assert_false(cvm_is_ready(cvm));
    instance_end(cvm);
    return NULL;
}

cvm_t *instance_start(const struct setting *settings)
{
    char why[256];
    cvm_t *cvm = instance_try(settings, why, sizeof why);
    if (!cvm)
        fail_msg("%s", why);
    return cvm;
}

cvm_t *instance_beside(void)
{
    static const struct setting SETTINGS[] = {{"platform", "plain:"}, {"role", "command"},
        {"log.file", "/dev/null"}, {"audit.file", "/dev/null"}, {NULL, NULL}};
    struct started start = {0, ""};
    char why[256];
    if (beside)
        return beside;
    beside = instance_new(harness_conf(SETTINGS), why, sizeof why);
    assert_non_null(beside);
    assert_null(cvm_start_command(beside, started, &start));
    turn_alone_until(beside, &start.is_done);
    assert_string_equal(start.why, "");
    return beside;
}

static void stopped(void *user_data, const cvm_error_t *error)
{
    assert_null(error);
    assert_false(inside_call);
    ++*(int *)user_data;
}

void instance_stop(cvm_t *cvm, int *is_stopped)
{
    inside_call = 1;
    cvm_error_t *error = cvm_stop(cvm, stopped, is_stopped);
    inside_call = 0;
    assert_null(error);
}

void instance_free(cvm_t *cvm)
{
    for (uint32_t i = 0; i < instance_count; i++)
        if (instances[i] == cvm)
            instances[i--] = instances[--instance_count];
    cvm_free(cvm);
}

void instance_end(cvm_t *cvm)
{
    int is_stopped = 0;
    instance_stop(cvm, &is_stopped);
    turn_until(&is_stopped, 1);
    instance_free(cvm);
}

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void turn_at_most(int wait_ms)
{
    struct pollfd fds[MOST_INSTANCES];
    for (uint32_t i = 0; i < instance_count; i++) {
        int32_t timeout_ms = cvm_timeout_ms(instances[i]);
        if (timeout_ms >= 0 && timeout_ms < wait_ms)
            wait_ms = timeout_ms;
        fds[i] = (struct pollfd){cvm_fd(instances[i]), POLLIN, 0};
    }
    (void)poll(fds, instance_count, wait_ms);
    for (uint32_t i = 0; i < instance_count; i++)
        cvm_process(instances[i]);
}

void turn(void)
{
    turn_at_most(20);
}

void turn_alone_until(cvm_t *cvm, const int *is_true)
{
    int64_t end_ms = now_ms() + PATIENCE_S * 1000;
    while (!*is_true) {
        int32_t timeout_ms = cvm_timeout_ms(cvm);
        struct pollfd fd = {cvm_fd(cvm), POLLIN, 0};
        assert_true(now_ms() < end_ms);
        (void)poll(&fd, 1, timeout_ms >= 0 && timeout_ms < 20 ? timeout_ms : 20);
        cvm_process(cvm);
    }
}

void turn_until(const int *is_true, int wanted)
{
    int64_t end_ms = now_ms() + PATIENCE_S * 1000;
    while (*is_true != wanted) {
        if (now_ms() > end_ms)
            fail_msg("it took more than %d s: %d of %d", PATIENCE_S, *is_true, wanted);
        turn();
    }
}

void turn_until_held(uint32_t count)
{
    int64_t end_ms = now_ms() + PATIENCE_S * 1000;
    while (faults_held() < count) {
        if (now_ms() > end_ms)
            fail_msg("%u of %u calls are held", faults_held(), count);
        turn();
    }
}

static int is_idle(cvm_t *cvm)
{
    size_t size = cvm_metrics(cvm, NULL, 0) + 1;
    char *text = malloc(size);
    assert_non_null(text);
    (void)cvm_metrics(cvm, text, size);
    int is_none = strstr(text, "\ncvm_queue_depth 0\n") != NULL;
    free(text);
    return is_none;
}

void turn_until_idle(cvm_t *cvm)
{
    int64_t end_ms = now_ms() + PATIENCE_S * 1000;
    while (!is_idle(cvm)) {
        if (now_ms() > end_ms)
            fail_msg("registrations are still under way");
        turn();
    }
}

void turn_for(uint32_t ms)
{
    int64_t end_ms = now_ms() + ms, left_ms = ms;
    do {
        turn_at_most(left_ms < 20 ? (int)left_ms : 20);
        left_ms = end_ms - now_ms();
    } while (left_ms > 0);
}

void finished(void *user_data, const cvm_error_t *error)
{
    struct finish *finish = user_data;
    assert_false(inside_call);
    finish->calls++;
    (void)snprintf(finish->name, sizeof finish->name, "%s", cvm_error_name(error));
    (void)snprintf(finish->text, sizeof finish->text, "%s", cvm_error_text(error));
}

/* --- Registering ------------------------------------------------------------------------------ */

static char *copy_of(const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    assert_int_equal(copy == NULL, text == NULL);
    return copy;
}

static void registered(void *user_data, const cvm_result_t *result)
{
    struct outcome *outcome = user_data;
    const cvm_error_t *error = cvm_result_error(result);
    outcome->inside |= inside_call;
    if (outcome->calls++)
        return;
    (void)snprintf(outcome->name, sizeof outcome->name, "%s", cvm_error_name(error));
    (void)snprintf(outcome->step, sizeof outcome->step, "%s", cvm_error_step(error));
    (void)snprintf(outcome->text, sizeof outcome->text, "%s", cvm_error_text(error));
    outcome->retryable = cvm_error_retryable(error);
    outcome->retry_after_s = cvm_error_retry_after_s(error);
    outcome->http_status = cvm_result_http_status(result);
    outcome->body = copy_of(cvm_result_body(result, NULL));
    assert_non_null(cvm_result_request_id(result));
    if (error)
        return;
    (void)snprintf(outcome->certificate_id, sizeof outcome->certificate_id, "%s",
        cvm_result_certificate_id(result));
    (void)snprintf(
        outcome->thing_name, sizeof outcome->thing_name, "%s", cvm_result_thing_name(result));
    outcome->certificate = copy_of(cvm_result_device_certificate(result));
    outcome->private_key = copy_of(cvm_result_private_key(result));
    assert_true(*cvm_result_endpoint(result) && *cvm_result_root_ca(result));
    assert_non_null(cvm_result_server_time(result));
    assert_int_equal(cvm_result_public_key(result) != NULL, outcome->private_key != NULL);
}

const char *token_of(const char *uid)
{
    static char token[160];
    (void)snprintf(token, sizeof token, "token-of-%s", uid);
    for (char *c = token; *c; c++)
        if (*c == ':')
            *c = '.';
    return token;
}

void register_start(cvm_t *cvm, const char *uid, const char *token, const char *csr,
    uint32_t deadline_ms, struct outcome *outcome)
{
    *outcome = (struct outcome){.calls = 0};
    cvm_request_t *request = cvm_request_new();
    assert_non_null(request);
    assert_null(cvm_request_set_uid(request, uid));
    assert_null(cvm_request_set_token(request, token));
    if (csr)
        assert_null(cvm_request_set_csr(request, csr, strlen(csr)));
    cvm_request_set_deadline_ms(request, deadline_ms);
    inside_call = 1;
    cvm_error_t *error = cvm_register(cvm, request, registered, outcome, &outcome->id);
    inside_call = 0;
    if (error)
        fail_msg("refused: %s", cvm_error_text(error));
    cvm_request_free(request);
}

void handle_start(cvm_t *cvm, const char *media_type, const char *payload, struct outcome *outcome)
{
    *outcome = (struct outcome){.calls = 0};
    inside_call = 1;
    cvm_error_t *error = cvm_handle(
        cvm, NULL, media_type, payload, strlen(payload), registered, outcome, &outcome->id);
    inside_call = 0;
    if (error)
        fail_msg("refused: %s", cvm_error_text(error));
}

void outcome_wait(struct outcome *outcome)
{
    turn_until(&outcome->calls, 1);
    assert_false(outcome->inside);
}

const char *register_now(cvm_t *cvm, const char *uid, const char *csr, struct outcome *outcome)
{
    register_start(cvm, uid, token_of(uid), csr, 0, outcome);
    outcome_wait(outcome);
    return outcome->name;
}

void outcome_clear(struct outcome *outcome)
{
    free(outcome->certificate);
    free(outcome->private_key);
    free(outcome->body);
    *outcome = (struct outcome){.calls = 0};
}

char *make_csr(void)
{
    char *bytes;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *request = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    assert_true(X509_REQ_set_pubkey(request, key) && X509_REQ_sign(request, key, EVP_sha256()));
    assert_true(PEM_write_bio_X509_REQ(bio, request));
    long length = BIO_get_mem_data(bio, &bytes);
    char *csr = strndup(bytes, (size_t)length);
    BIO_free(bio);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return csr;
}

/* --- Verbs ------------------------------------------------------------------------------------ */

static struct finish done;

static void begin_call(void)
{
    done = (struct finish){0, "", ""};
    inside_call = 1;
}

static const char *end_call(cvm_error_t *error)
{
    inside_call = 0;
    if (error) {
        (void)snprintf(done.name, sizeof done.name, "%s", cvm_error_name(error));
        cvm_error_free(error);
        assert_int_equal(done.calls, 0);
        return done.name;
    }
    turn_until(&done.calls, 1);
    return done.name;
}

const char *device_add(cvm_t *cvm, const char *uid)
{
    begin_call();
    return end_call(cvm_device_put(cvm, uid, token_of(uid), 1, finished, &done));
}

const char *device_enable(cvm_t *cvm, const char *uid)
{
    begin_call();
    return end_call(cvm_device_enable(cvm, uid, finished, &done));
}

const char *device_disable(cvm_t *cvm, const char *uid)
{
    begin_call();
    return end_call(cvm_device_disable(cvm, uid, finished, &done));
}

const char *device_reset(cvm_t *cvm, const char *uid)
{
    begin_call();
    return end_call(cvm_device_reset(cvm, uid, finished, &done));
}

const char *device_revoke(cvm_t *cvm, const char *uid, const char *reason)
{
    begin_call();
    return end_call(cvm_device_revoke(cvm, uid, reason, finished, &done));
}

const char *device_remove(cvm_t *cvm, const char *uid, int32_t force)
{
    begin_call();
    return end_call(cvm_device_remove(cvm, uid, force, finished, &done));
}

const char *reconcile(cvm_t *cvm)
{
    begin_call();
    return end_call(cvm_reconcile(cvm, finished, &done));
}

static void copy_text(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from ? from : "");
}

static void viewed(void *user_data, const cvm_error_t *error, const cvm_device_t *device)
{
    struct view *view = user_data;
    const cvm_certificate_t *certificate;
    assert_false(inside_call);
    done.calls++;
    copy_text(view->name, sizeof view->name, cvm_error_name(error));
    assert_int_equal(error == NULL, device != NULL);
    if (error)
        return;
    view->is_enabled = cvm_device_is_enabled(device);
    view->is_registered = cvm_device_is_registered(device);
    view->is_revoked = cvm_device_is_revoked(device);
    view->has_lease = cvm_device_lease(device) != NULL;
    copy_text(view->certificate_id, sizeof view->certificate_id, cvm_device_certificate_id(device));
    copy_text(view->thing_name, sizeof view->thing_name, cvm_device_thing_name(device));
    for (uint32_t i = 0; (certificate = cvm_device_certificate(device, i)) && i < MOST_VIEWED;
         i++) {
        copy_text(view->certificates[i].id, sizeof view->certificates[i].id,
            cvm_certificate_id(certificate));
        copy_text(view->certificates[i].state, sizeof view->certificates[i].state,
            cvm_certificate_state(certificate));
        copy_text(view->certificates[i].reason, sizeof view->certificates[i].reason,
            cvm_certificate_reason(certificate));
        view->certificate_count++;
    }
}

void device_view(cvm_t *cvm, const char *uid, struct view *view)
{
    *view = (struct view){.is_enabled = 0};
    begin_call();
    cvm_error_t *error = cvm_device_get(cvm, uid, viewed, view);
    inside_call = 0;
    assert_null(error);
    turn_until(&done.calls, 1);
}

uint32_t view_count(const struct view *view, const char *state)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->certificate_count; i++)
        count += strcmp(view->certificates[i].state, state) == 0;
    return count;
}

uint32_t lines_with(const char *file, const char *text)
{
    char path[128], line[4096];
    uint32_t count = 0;
    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *in = fopen(path, "r");
    while (in && fgets(line, sizeof line, in))
        count += strstr(line, text) != NULL;
    if (in)
        (void)fclose(in);
    return count;
}
