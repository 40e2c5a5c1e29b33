/* A world of certificates, and the platform's steps that change it. */
#include "support/fake_platform.h"

#include "support/faults.h"
#include "support/test.h"

#include <pthread.h>
#include <time.h>

#include "base/hex.h"

#define MOST_CERTIFICATES 8192
#define DAY_MS            INT64_C(86400000)
#define MOST_FOUND        128

struct platform {
    const cvm_host_t *host;
};

/* One call on its way. */
struct task {
    const cvm_host_t *host;
    const struct platform *platform;
    cvm_op_t *op;
    cvm_answer_t (*perform)(struct task *task);
    char uid[129], thing[129], certificate_id[65], key[65];
    int32_t is_enabled, is_created;
    struct fake_certificate found[MOST_FOUND]; /* copies: what is answered, from any thread */
    uint32_t found_count;
    cvm_answer_t answer;
};

static struct fake_certificate *world[MOST_CERTIFICATES];
static uint32_t world_count, made_count, violations;
static int32_t (*check)(const char *certificate_id);

/* --- The world -------------------------------------------------------------------------------- */

void fake_clear(int32_t (*is_recorded)(const char *certificate_id))
{
    while (world_count)
        free(world[--world_count]);
    violations = 0;
    check = is_recorded;
}

uint32_t fake_violations(void)
{
    return violations;
}

const struct fake_certificate *fake_certificate(uint32_t i)
{
    return i < world_count ? world[i] : NULL;
}

static struct fake_certificate *find(const char *certificate_id)
{
    for (uint32_t i = 0; i < world_count; i++)
        if (strcmp(world[i]->id, certificate_id) == 0)
            return world[i];
    return NULL;
}

const struct fake_certificate *fake_find(const char *certificate_id)
{
    return find(certificate_id);
}

static int32_t is_of(const struct fake_certificate *certificate, const char *uid)
{
    return !certificate->is_deleted && (!*uid || strcmp(certificate->uid, uid) == 0);
}

uint32_t fake_count(const char *uid, enum fake_state state)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world_count; i++)
        count += is_of(world[i], uid) && world[i]->state == state;
    return count;
}

uint32_t fake_attached(const char *uid)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world_count; i++)
        count += is_of(world[i], uid) && (world[i]->has_policy || *world[i]->thing);
    return count;
}

/* Nothing active without a record, at any moment: of the device that the call is about. */
static void check_device(const char *uid, const char *certificate_id)
{
    for (uint32_t i = 0; check && i < world_count; i++) {
        const struct fake_certificate *certificate = world[i];
        if (strcmp(certificate->uid, uid) != 0 && strcmp(certificate->id, certificate_id) != 0)
            continue;
        if (!certificate->is_deleted && certificate->state == FAKE_ACTIVE &&
            !check(certificate->id))
            violations++;
    }
}

/* --- What the steps do ------------------------------------------------------------------------ */

static cvm_answer_t prepare(struct task *task)
{
    (void)task->host->op_set_text(task->op, CVM_OUT_ENDPOINT, "fake.example");
    (void)task->host->op_set_text(task->op, CVM_OUT_ROOT_CA,
        "-----BEGIN CERTIFICATE-----\nFAKEROOT\n-----END CERTIFICATE-----\n");
    (void)task->host->op_set_text(task->op, CVM_OUT_CHAIN, "");
    return CVM_ANSWER_OK;
}

static cvm_answer_t create_certificate(struct task *task)
{
    assert_true(world_count < MOST_CERTIFICATES);
    struct fake_certificate *made = test_new(sizeof *made);
    (void)snprintf(made->id, sizeof made->id, "%08x%056x", (unsigned)++made_count, 0u);
    (void)snprintf(made->uid, sizeof made->uid, "%s", task->uid);
    (void)snprintf(made->key, sizeof made->key, "%s", task->key);
    (void)snprintf(task->certificate_id, sizeof task->certificate_id, "%s", made->id);
    world[world_count++] = made;
    task->is_created = 1;
    task->found[task->found_count++] = *made;
    return CVM_ANSWER_OK;
}

void fake_add(const char *id, const char *uid, const char *thing, enum fake_state state)
{
    assert_true(world_count < MOST_CERTIFICATES);
    struct fake_certificate *made = test_new(sizeof *made);
    (void)snprintf(made->id, sizeof made->id, "%s", id);
    (void)snprintf(made->uid, sizeof made->uid, "%s", uid);
    (void)snprintf(made->thing, sizeof made->thing, "%s", thing);
    made->state = state;
    made->has_policy = 1;
    world[world_count++] = made;
}

/* All that hang on the thing, in the order in which they were made. */
static cvm_answer_t find_certificates(struct task *task)
{
    for (uint32_t i = 0; i < world_count && task->found_count < MOST_FOUND; i++)
        if (!world[i]->is_deleted && strcmp(world[i]->thing, task->thing) == 0)
            task->found[task->found_count++] = *world[i];
    return CVM_ANSWER_OK;
}

static cvm_answer_t find_by_key(struct task *task)
{
    for (uint32_t i = 0; i < world_count; i++)
        if (is_of(world[i], task->uid) && world[i]->state == FAKE_INACTIVE &&
            !world[i]->is_suspended && strcmp(world[i]->key, task->key) == 0)
            task->found[task->found_count++] = *world[i];
    assert_in_range(task->found_count, 0, 1);
    return task->found_count ? CVM_ANSWER_OK : CVM_ANSWER_NOT_FOUND;
}

/* What create_certificate and find_... answer. 0, or -1 without memory. */
static int32_t add_record(
    const struct task *task, const struct fake_certificate *certificate, int64_t age_ms)
{
    static const char *const STATES[] = {"pending", "current", "revoked"};
    const char *id = certificate->id;
    const cvm_host_t *host = task->host;
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    int64_t now_ms = (int64_t)now.tv_sec * 1000;
    cvm_record_t *record = host->record_new(CVM_RECORD_CERTIFICATE);
    char pem[128];
    (void)snprintf(
        pem, sizeof pem, "-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n", id);
    if (!record || host->set_text(record, CVM_C_CERTIFICATE_ID, id) ||
        host->set_text(record, CVM_C_STATE, STATES[certificate->state]) ||
        host->set_text(record, CVM_C_SERIAL, strlen(id) > 32 ? id + 32 : id) ||
        host->set_number(record, CVM_C_NOT_BEFORE, now_ms - DAY_MS - age_ms) ||
        host->set_number(record, CVM_C_NOT_AFTER, now_ms + 365 * DAY_MS) ||
        host->set_text(record, CVM_C_PEM, pem)) {
        host->record_free(record);
        return -1;
    }
    return host->op_add_record(task->op, record);
}

/* The task's certificate if it is there. */
static struct fake_certificate *certificate_of(const struct task *task)
{
    struct fake_certificate *certificate = find(task->certificate_id);
    return certificate && !certificate->is_deleted ? certificate : NULL;
}

static cvm_answer_t delete_certificate(struct task *task)
{
    struct fake_certificate *certificate = certificate_of(task);
    if (!certificate)
        return CVM_ANSWER_NOT_FOUND;
    certificate->is_deleted = 1;
    return CVM_ANSWER_OK;
}

static cvm_answer_t attach_policy(struct task *task)
{
    struct fake_certificate *certificate = certificate_of(task);
    if (!certificate)
        return CVM_ANSWER_NOT_FOUND;
    certificate->has_policy = 1;
    return CVM_ANSWER_OK;
}

static cvm_answer_t detach_policy(struct task *task)
{
    struct fake_certificate *certificate = certificate_of(task);
    if (!certificate)
        return CVM_ANSWER_NOT_FOUND;
    certificate->has_policy = 0;
    return CVM_ANSWER_OK;
}

static cvm_answer_t create_thing(struct task *task)
{
    return *task->thing ? CVM_ANSWER_OK : CVM_ANSWER_INVALID;
}

static cvm_answer_t attach_certificate(struct task *task)
{
    struct fake_certificate *certificate = certificate_of(task);
    if (!certificate)
        return CVM_ANSWER_NOT_FOUND;
    (void)snprintf(certificate->thing, sizeof certificate->thing, "%s", task->thing);
    return CVM_ANSWER_OK;
}

static cvm_answer_t detach_certificate(struct task *task)
{
    struct fake_certificate *certificate = certificate_of(task);
    if (!certificate)
        return CVM_ANSWER_NOT_FOUND;
    *certificate->thing = 0;
    return CVM_ANSWER_OK;
}

static cvm_answer_t set_state(struct task *task, enum fake_state state)
{
    struct fake_certificate *certificate = certificate_of(task);
    if (!certificate)
        return CVM_ANSWER_NOT_FOUND;
    if (certificate->state == FAKE_REVOKED && state != FAKE_REVOKED)
        return CVM_ANSWER_INVALID;
    certificate->state = state;
    certificate->is_suspended = 0;
    return CVM_ANSWER_OK;
}

static cvm_answer_t activate(struct task *task)
{
    return set_state(task, FAKE_ACTIVE);
}

static cvm_answer_t deactivate(struct task *task)
{
    return set_state(task, FAKE_INACTIVE);
}

static cvm_answer_t revoke(struct task *task)
{
    return set_state(task, FAKE_REVOKED);
}

static cvm_answer_t suspend(struct task *task)
{
    for (uint32_t i = 0; i < world_count; i++) {
        struct fake_certificate *certificate = world[i];
        if (!is_of(certificate, task->uid))
            continue;
        if (!task->is_enabled && certificate->state == FAKE_ACTIVE) {
            certificate->state = FAKE_INACTIVE;
            certificate->is_suspended = 1;
        } else if (task->is_enabled && certificate->is_suspended) {
            certificate->state = FAKE_ACTIVE;
            certificate->is_suspended = 0;
        }
    }
    return CVM_ANSWER_OK;
}

/* --- How they are answered -------------------------------------------------------------------- */

static void perform(struct task *task)
{
    task->answer = task->perform(task);
    check_device(task->uid, task->certificate_id);
}

static void answer(struct task *task)
{
    for (uint32_t i = 0; i < task->found_count && task->answer == CVM_ANSWER_OK; i++) {
        int64_t age_ms = task->is_created ? 0 : (int64_t)(task->found_count - i) * DAY_MS;
        if (!add_record(task, &task->found[i], age_ms))
            continue;
        task->answer = CVM_ANSWER_UNAVAILABLE;
        if (task->is_created)
            find(task->certificate_id)->is_deleted = 1;
    }
    task->host->complete(
        task->op, task->answer, task->answer == CVM_ANSWER_OK ? NULL : "the fake platform failed");
}

static void answer_late(void *argument)
{
    answer(argument);
    free(argument);
}

static void perform_late(void *argument)
{
    perform(argument);
    answer_late(argument);
}

static void *answer_in_thread(void *argument)
{
    const struct timespec wait = {0, 1000000};
    (void)nanosleep(&wait, NULL);
    answer_late(argument);
    return NULL;
}

static void fail_with(struct task *task, cvm_answer_t with)
{
    task->answer = with;
    answer(task);
}

/* One call: what it does and when, as it was planned. Frees the task, or holds it. */
static void carry_out(struct task *task, enum fault fault)
{
    pthread_t thread;
    static const cvm_answer_t ANSWERS[FAULT_COUNT] = {[FAULT_UNAVAILABLE] = CVM_ANSWER_UNAVAILABLE,
        [FAULT_BUSY] = CVM_ANSWER_BUSY,
        [FAULT_BROKEN] = CVM_ANSWER_BROKEN,
        [FAULT_INVALID] = CVM_ANSWER_INVALID,
        [FAULT_NOT_FOUND] = CVM_ANSWER_NOT_FOUND,
        [FAULT_CONFLICT] = CVM_ANSWER_CONFLICT,
        [FAULT_UNKNOWN_NOT] = CVM_ANSWER_UNKNOWN};
    if (fault == FAULT_HOLD_BEFORE) {
        faults_hold(perform_late, task);
        return;
    }
    if (fault == FAULT_HANG) {
        task->answer = CVM_ANSWER_UNAVAILABLE;
        task->is_created = 0;
        faults_hang(task->platform, answer_late, task);
        return;
    }
    if (!ANSWERS[fault])
        perform(task);
    if (fault == FAULT_HOLD_AFTER) {
        faults_hold(answer_late, task);
        return;
    }
    if (fault == FAULT_THREAD) {
        assert_int_equal(pthread_create(&thread, NULL, answer_in_thread, task), 0);
        pthread_detach(thread);
        return;
    }
    if (ANSWERS[fault])
        fail_with(task, ANSWERS[fault]);
    else if (fault == FAULT_UNKNOWN_DONE)
        fail_with(task, CVM_ANSWER_UNKNOWN);
    else
        answer(task);
    if (fault == FAULT_TWICE)
        task->host->complete(task->op, CVM_ANSWER_UNAVAILABLE, "once more");
    free(task);
}

static void call(const struct platform *platform, const char *name,
    cvm_answer_t (*perform_it)(struct task *task), cvm_op_t *op, const cvm_record_t *device,
    const cvm_record_t *certificate)
{
    const cvm_host_t *host = platform->host;
    struct task *task = test_new(sizeof *task);
    task->host = host;
    task->platform = platform;
    task->op = op;
    task->perform = perform_it;
    task->is_enabled = device && host->number(device, CVM_D_IS_ENABLED) != 0;
    (void)snprintf(
        task->uid, sizeof task->uid, "%s", device ? host->text(device, CVM_D_DEVICE_UID) : "");
    (void)snprintf(
        task->thing, sizeof task->thing, "%s", device ? host->text(device, CVM_D_THING_NAME) : "");
    size_t length = 0;
    const uint8_t *spki = host->op_public_key(op, &length);
    if (spki)
        assert_int_equal(cvm_sha256_hex(spki, length, task->key), 0);
    else if (certificate)
        (void)snprintf(
            task->key, sizeof task->key, "%s", host->text(certificate, CVM_C_PUBLIC_KEY_SHA256));
    (void)snprintf(task->certificate_id, sizeof task->certificate_id, "%s",
        certificate ? host->text(certificate, CVM_C_CERTIFICATE_ID) : "");
    carry_out(task, faults_next(name));
}

#define STEP(name)                                                                                 \
    static void name##_step(                                                                       \
        void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)     \
    {                                                                                              \
        call(self, #name, name, op, device, certificate);                                          \
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

static cvm_answer_t create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **self, char *error, size_t error_size)
{
    (void)user_data;
    struct platform *platform = test_new(sizeof *platform);
    (void)context;
    (void)location;
    (void)error;
    (void)error_size;
    platform->host = host;
    *self = platform;
    return CVM_ANSWER_OK;
}

static cvm_answer_t do_nothing(struct task *task)
{
    (void)task;
    return CVM_ANSWER_OK;
}

static void open_platform(void *self, cvm_op_t *op, uint32_t how)
{
    (void)how;
    call(self, "platform_open", do_nothing, op, NULL, NULL);
}

static void reload(void *self, cvm_op_t *op)
{
    call(self, "reload", do_nothing, op, NULL, NULL);
}

static void close_platform(void *self, cvm_op_t *op)
{
    faults_end_hung(self);
    call(self, "platform_close", do_nothing, op, NULL, NULL);
}

static const cvm_platform_ops_t FAKE = {
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
    .reload = reload,
    .close = close_platform,
    .destroy = free,
};

static const cvm_platform_ops_t PLAIN = {
    .size = sizeof(cvm_platform_ops_t),
    .create = create,
    .open = open_platform,
    .prepare = prepare_step,
    .create_certificate = create_certificate_step,
    .revoke = revoke_step,
    .suspend = suspend_step,
    .reload = reload,
    .close = close_platform,
    .destroy = free,
};

int32_t plugin_fake(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    return host->add_platform(registry, "fake", &FAKE, user_data, NULL, 0) ||
           host->add_platform(registry, "plain", &PLAIN, user_data, NULL, 0);
}
