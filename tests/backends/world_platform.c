/* A platform whose certificates are files, and its steps. Processes share it: each step has it to
 * itself. */
#include "world_platform.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/rand.h>

#include "base/hex.h"
#include "told.h"

#define DAY_MS     INT64_C(86400000)
#define MOST_FOUND 16

struct platform {
    const cvm_host_t *host;
    cvm_context_t *context;
    char folder[PATH_MAX / 2];
};

struct certificate {
    char id[65], uid[129], state[16], thing[129], key[65];
    int has_policy, is_suspended;
};

/* One call on its way. */
struct task {
    struct told_held held;
    struct platform *platform;
    cvm_op_t *op;
    cvm_answer_t (*perform)(struct task *task);
    enum told told;
    char uid[129], thing[129], certificate_id[65], key[65]; /* key: its hash */
    int32_t is_enabled;
    struct certificate found[MOST_FOUND]; /* what is answered */
    uint32_t found_count;
    cvm_answer_t answer;
};

/* --- The world -------------------------------------------------------------------------------- */

static void path_of(const struct platform *platform, const char *id, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/certificates/%.64s", platform->folder, id);
}

/* 0, or -1 if there is none. */
static int32_t read_certificate(
    const struct platform *platform, const char *id, struct certificate *certificate)
{
    char path[PATH_MAX];
    path_of(platform, id, path);
    FILE *file = *id ? fopen(path, "r") : NULL;
    if (!file)
        return -1;
    (void)snprintf(certificate->id, sizeof certificate->id, "%s", id);
    int fields = fscanf(file, "%128s %15s %d %d %128s %64s", certificate->uid, certificate->state,
        &certificate->has_policy, &certificate->is_suspended, certificate->thing, certificate->key);
    (void)fclose(file);
    return fields == 6 ? 0 : -1;
}

/* Whole or not at all: the program may be killed. */
static cvm_answer_t write_certificate(
    const struct platform *platform, const struct certificate *certificate)
{
    char path[PATH_MAX], temporary[PATH_MAX + 8];
    path_of(platform, certificate->id, path);
    (void)snprintf(temporary, sizeof temporary, "%s/new", platform->folder);
    FILE *file = fopen(temporary, "w");
    if (!file ||
        fprintf(file, "%s %s %d %d %s %s\n", certificate->uid, certificate->state,
            certificate->has_policy, certificate->is_suspended, certificate->thing,
            certificate->key) < 0 ||
        fclose(file) || rename(temporary, path))
        abort();
    return CVM_ANSWER_OK;
}

/* --- What the steps do ------------------------------------------------------------------------ */

static cvm_answer_t do_prepare(struct task *task)
{
    const cvm_host_t *host = task->platform->host;
    if (host->op_set_text(task->op, CVM_OUT_ENDPOINT, "world.example") ||
        host->op_set_text(task->op, CVM_OUT_ROOT_CA, "WORLD ROOT\n") ||
        host->op_set_text(task->op, CVM_OUT_CHAIN, ""))
        return CVM_ANSWER_UNAVAILABLE;
    return CVM_ANSWER_OK;
}

static cvm_answer_t do_create_certificate(struct task *task)
{
    struct certificate made = {.state = "inactive", .thing = "-"};
    unsigned char bytes[32];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return CVM_ANSWER_UNAVAILABLE;
    for (size_t i = 0; i < sizeof bytes; i++)
        (void)snprintf(made.id + 2 * i, 3, "%02x", bytes[i]);
    memcpy(made.uid, task->uid, sizeof made.uid);
    memcpy(made.key, task->key, sizeof made.key);
    task->found[task->found_count++] = made;
    return write_certificate(task->platform, &made);
}

static cvm_answer_t do_delete_certificate(struct task *task)
{
    char path[PATH_MAX];
    path_of(task->platform, task->certificate_id, path);
    return unlink(path) && errno == ENOENT ? CVM_ANSWER_NOT_FOUND : CVM_ANSWER_OK;
}

static cvm_answer_t set_policy(struct task *task, int has_policy)
{
    struct certificate certificate;
    if (read_certificate(task->platform, task->certificate_id, &certificate))
        return CVM_ANSWER_NOT_FOUND;
    certificate.has_policy = has_policy;
    return write_certificate(task->platform, &certificate);
}

static cvm_answer_t do_attach_policy(struct task *task)
{
    return set_policy(task, 1);
}

static cvm_answer_t do_detach_policy(struct task *task)
{
    return set_policy(task, 0);
}

static cvm_answer_t do_create_thing(struct task *task)
{
    return *task->thing ? CVM_ANSWER_OK : CVM_ANSWER_INVALID;
}

static cvm_answer_t set_thing(struct task *task, const char *thing)
{
    struct certificate certificate;
    if (read_certificate(task->platform, task->certificate_id, &certificate))
        return CVM_ANSWER_NOT_FOUND;
    (void)snprintf(certificate.thing, sizeof certificate.thing, "%s", thing);
    return write_certificate(task->platform, &certificate);
}

static cvm_answer_t do_attach_certificate(struct task *task)
{
    return set_thing(task, task->thing);
}

static cvm_answer_t do_detach_certificate(struct task *task)
{
    return set_thing(task, "-");
}

static cvm_answer_t set_state(struct task *task, const char *state)
{
    struct certificate certificate;
    if (read_certificate(task->platform, task->certificate_id, &certificate))
        return CVM_ANSWER_NOT_FOUND;
    if (strcmp(certificate.state, "revoked") == 0 && strcmp(state, "revoked") != 0)
        return CVM_ANSWER_INVALID;
    (void)snprintf(certificate.state, sizeof certificate.state, "%s", state);
    certificate.is_suspended = 0;
    return write_certificate(task->platform, &certificate);
}

static cvm_answer_t do_activate(struct task *task)
{
    return set_state(task, "active");
}

static cvm_answer_t do_deactivate(struct task *task)
{
    return set_state(task, "inactive");
}

static cvm_answer_t do_revoke(struct task *task)
{
    return set_state(task, "revoked");
}

static void suspend_one(struct task *task, struct certificate *certificate)
{
    if (strcmp(certificate->uid, task->uid) != 0)
        return;
    if (!task->is_enabled && strcmp(certificate->state, "active") == 0) {
        (void)snprintf(certificate->state, sizeof certificate->state, "inactive");
        certificate->is_suspended = 1;
    } else if (task->is_enabled && certificate->is_suspended) {
        (void)snprintf(certificate->state, sizeof certificate->state, "active");
        certificate->is_suspended = 0;
    } else {
        return;
    }
    (void)write_certificate(task->platform, certificate);
}

/* Calls function for each certificate that there is. */
static void for_each(
    struct task *task, void (*function)(struct task *task, struct certificate *certificate))
{
    char path[PATH_MAX];
    path_of(task->platform, "", path);
    DIR *folder = opendir(path);
    struct certificate certificate;
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        if (!read_certificate(task->platform, entry->d_name, &certificate))
            function(task, &certificate);
    if (folder)
        (void)closedir(folder);
}

static cvm_answer_t do_suspend(struct task *task)
{
    for_each(task, suspend_one);
    return CVM_ANSWER_OK;
}

static void find(struct task *task, const struct certificate *certificate)
{
    if (task->found_count == MOST_FOUND)
        abort();
    task->found[task->found_count++] = *certificate;
}

static void find_of_thing(struct task *task, struct certificate *certificate)
{
    if (strcmp(certificate->thing, task->thing) == 0)
        find(task, certificate);
}

static cvm_answer_t do_find_certificates(struct task *task)
{
    for_each(task, find_of_thing);
    return CVM_ANSWER_OK;
}

static void find_of_key(struct task *task, struct certificate *certificate)
{
    if (strcmp(certificate->uid, task->uid) == 0 && strcmp(certificate->key, task->key) == 0 &&
        strcmp(certificate->state, "inactive") == 0 && !certificate->is_suspended)
        find(task, certificate);
}

static cvm_answer_t do_find_by_key(struct task *task)
{
    for_each(task, find_of_key);
    return task->found_count ? CVM_ANSWER_OK : CVM_ANSWER_NOT_FOUND;
}

/* With the world to itself. */
static cvm_answer_t perform(struct task *task)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/lock", task->platform->folder);
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX))
        abort();
    cvm_answer_t answer = task->perform(task);
    (void)close(lock);
    return answer;
}

/* --- How they are answered -------------------------------------------------------------------- */

static const char *state_of(const struct certificate *certificate)
{
    if (strcmp(certificate->state, "active") == 0)
        return "current";
    return strcmp(certificate->state, "revoked") == 0 ? "revoked" : "pending";
}

/* 0, or -1 without memory. */
static int32_t add_record(const struct task *task, const struct certificate *certificate)
{
    const cvm_host_t *host = task->platform->host;
    int64_t now_ms = (int64_t)time(NULL) * 1000;
    cvm_record_t *record = host->record_new(CVM_RECORD_CERTIFICATE);
    char pem[128];
    (void)snprintf(pem, sizeof pem, "WORLD CERTIFICATE %s\n", certificate->id);
    if (!record || host->set_text(record, CVM_C_CERTIFICATE_ID, certificate->id) ||
        host->set_text(record, CVM_C_STATE, state_of(certificate)) ||
        host->set_text(record, CVM_C_SERIAL, certificate->id + 32) ||
        host->set_number(record, CVM_C_NOT_BEFORE, now_ms - DAY_MS) ||
        host->set_number(record, CVM_C_NOT_AFTER, now_ms + 365 * DAY_MS) ||
        host->set_text(record, CVM_C_PEM, pem)) {
        host->record_free(record);
        return -1;
    }
    return host->op_add_record(task->op, record);
}

static void answer(struct task *task, cvm_answer_t with)
{
    for (uint32_t i = 0; i < task->found_count && with == CVM_ANSWER_OK; i++)
        if (add_record(task, &task->found[i]))
            with = CVM_ANSWER_UNKNOWN;
    task->platform->host->complete(task->op, with, with == CVM_ANSWER_OK ? NULL : TOLD_TEXT);
    free(task);
}

static void go_on(struct told_held *held, int32_t is_cut)
{
    struct task *task = (struct task *)held; /* its first member */
    if (is_cut)
        answer(task, CVM_ANSWER_UNKNOWN);
    else
        answer(task, task->told == TOLD_HOLD ? perform(task) : task->answer);
}

static void carry_out(struct task *task, const char *call)
{
    if (told_answer(task->told)) {
        answer(task, told_answer(task->told));
        return;
    }
    if (task->told != TOLD_HOLD)
        task->answer = perform(task);
    if (task->told == TOLD_UNKNOWN_DONE) {
        answer(task, CVM_ANSWER_UNKNOWN);
    } else if (task->told == TOLD_NOTHING) {
        answer(task, task->answer);
    } else {
        task->held = (struct told_held){.host = task->platform->host,
            .context = task->platform->context,
            .call = call,
            .owner = task->platform,
            .op = task->op,
            .go = go_on};
        told_hold(&task->held);
    }
}

static void begin(struct platform *platform, const char *name,
    cvm_answer_t (*step)(struct task *task), cvm_op_t *op, const cvm_record_t *device,
    const cvm_record_t *certificate)
{
    const cvm_host_t *host = platform->host;
    size_t length;
    struct task *task = calloc(1, sizeof *task);
    if (!task)
        abort();
    task->platform = platform;
    task->op = op;
    task->perform = step;
    task->told = told_next(name);
    task->is_enabled = device && host->number(device, CVM_D_IS_ENABLED) != 0;
    if (device) {
        (void)snprintf(task->uid, sizeof task->uid, "%s", host->text(device, CVM_D_DEVICE_UID));
        (void)snprintf(task->thing, sizeof task->thing, "%s", host->text(device, CVM_D_THING_NAME));
    }
    if (certificate) {
        (void)snprintf(task->certificate_id, sizeof task->certificate_id, "%s",
            host->text(certificate, CVM_C_CERTIFICATE_ID));
        (void)snprintf(
            task->key, sizeof task->key, "%s", host->text(certificate, CVM_C_PUBLIC_KEY_SHA256));
    }
    const uint8_t *spki = host->op_public_key(op, &length);
    if (spki && cvm_sha256_hex(spki, length, task->key))
        abort();
    carry_out(task, name);
}

#define STEP(name)                                                                                 \
    static void name##_step(                                                                       \
        void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)     \
    {                                                                                              \
        begin(self, #name, do_##name, op, device, certificate);                                    \
    }
STEP(prepare)
STEP(create_certificate)
STEP(delete_certificate)
STEP(attach_policy)
STEP(detach_policy)
STEP(create_thing)
STEP(attach_certificate)
STEP(detach_certificate)
STEP(activate)
STEP(deactivate)
STEP(revoke)
STEP(suspend)
STEP(find_certificates)
STEP(find_by_key)

/* --- Life ------------------------------------------------------------------------------------- */

static cvm_answer_t create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **self, char *error, size_t error_size)
{
    (void)user_data;
    struct platform *platform = calloc(1, sizeof *platform);
    char path[PATH_MAX];
    if (!platform)
        abort();
    platform->host = host;
    platform->context = context;
    (void)snprintf(platform->folder, sizeof platform->folder, "%s", location);
    path_of(platform, "", path);
    if ((mkdir(platform->folder, 0755) && errno != EEXIST) ||
        (mkdir(path, 0755) && errno != EEXIST)) {
        (void)snprintf(error, error_size, "%s can't be made", path);
        free(platform);
        return CVM_ANSWER_INVALID;
    }
    told_folder(location);
    *self = platform;
    return CVM_ANSWER_OK;
}

static void open_platform(void *self, cvm_op_t *op, uint32_t how)
{
    const struct platform *platform = self;
    (void)how;
    platform->host->complete(op, CVM_ANSWER_OK, NULL);
}

static void close_platform(void *self, cvm_op_t *op)
{
    const struct platform *platform = self;
    told_cut(platform);
    platform->host->complete(op, CVM_ANSWER_OK, NULL);
}

static const cvm_platform_ops_t WORLD = {
    .size = sizeof(cvm_platform_ops_t),
    .flags = CVM_PLATFORM_OUTSIDE_EFFECTS,
    .create = create,
    .open = open_platform,
    .prepare = prepare_step,
    .create_certificate = create_certificate_step,
    .delete_certificate = delete_certificate_step,
    .attach_policy = attach_policy_step,
    .detach_policy = detach_policy_step,
    .create_thing = create_thing_step,
    .attach_certificate = attach_certificate_step,
    .detach_certificate = detach_certificate_step,
    .activate = activate_step,
    .deactivate = deactivate_step,
    .revoke = revoke_step,
    .suspend = suspend_step,
    .find_certificates = find_certificates_step,
    .find_by_key = find_by_key_step,
    .close = close_platform,
    .destroy = free,
};

int32_t cvm_plugin_world(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    return host->add_platform(registry, "world", &WORLD, user_data, NULL, 0);
}
