/*
 * Publishing the CRL: at most once a second, by one process at a time, under the lock of ca/.crl.lock:
 * lock, scan what is revoked and what is suspended, take the next number from the store, sign, write.
 * The scans run under the lock, so that no older view of the store can follow a newer one.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crl.h"
#include "platform.h"

#define LEAST_INTERVAL_MS 1000
#define CHECK_EVERY_MS    (INT64_C(3600) * 1000)
#define LOCK_TRIES        3000
#define LOCK_WAIT_NS      10000000L
#define COMMAND_TRIES     3000 /* of 10 ms: 30 s */
#define PAGE              1000
#define NUMBER_NAME       "crl_number"
#define MOST_SWAPS        5
#define LONGEST_PATH      4096
#define ERROR_SIZE        160

extern char **environ;

struct entry {
    char serial[41], reason[25];
    int64_t revoked_at_ms;
};

/* One CRL in the making. */
struct publication {
    struct platform *platform;
    struct waiting *waiting; /* who is answered by it */
    int lock_fd;
    cvm_scan_t scanning;
    int64_t now_ms;
    char after[65];
    struct entry *entries;
    uint32_t count, room, swaps;
    char number[24], last_number[24];
    int32_t is_first_number;
    int64_t next_update_ms;
    const char *command;
    int64_t validity_ms;
    cvm_answer_t answer;
    char error[ERROR_SIZE];
};

static void start(struct platform *platform);

/* --- The end ---------------------------------------------------------------------------------- */

static void answer_all(struct platform *platform, struct waiting *waiting, cvm_answer_t answer,
    const char *text)
{
    while (waiting) {
        struct waiting *next = waiting->next;
        if (waiting->op)
            platform->host->complete(waiting->op, answer, text);
        free(waiting);
        waiting = next;
    }
}

static void finish(struct publication *publication)
{
    struct platform *platform = publication->platform;
    if (publication->lock_fd >= 0)
        (void)close(publication->lock_fd);
    platform->publication = NULL;
    platform->published_at_ms = cvm_ca_now_ms();
    if (publication->answer == CVM_ANSWER_OK)
        platform->host->gauge(platform->context, CVM_GAUGE_CRL_NEXT_UPDATE, "",
            publication->next_update_ms / 1000);
    else
        platform->host->log(platform->context, CVM_LEVEL_ERROR, publication->error);
    answer_all(platform, publication->waiting, publication->answer,
        publication->answer == CVM_ANSWER_OK ? NULL : publication->error);
    free(publication->entries);
    free(publication);
    if (platform->waiting)
        cvm_publish(platform, NULL);
}

static void give_up(struct publication *publication, const char *why)
{
    publication->answer = CVM_ANSWER_UNAVAILABLE;
    (void)snprintf(publication->error, sizeof publication->error, "no new CRL: %s", why);
    finish(publication);
}

/* --- Signing and writing, in a thread --------------------------------------------------------- */

static void nap(long ns)
{
    const struct timespec wait = {0, ns};
    (void)nanosleep(&wait, NULL);
}

/* Runs ca.crl_command; what hangs is killed. 0, or -1. */
static int32_t run_command(const char *command)
{
    char *const arguments[] = {"sh", "-c", (char *)(uintptr_t)command, NULL};
    pid_t child;
    int status = 0;
    if (posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ))
        return -1;
    for (int i = 0; i < COMMAND_TRIES; i++) {
        pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended)
            return ended == child && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
        nap(LOCK_WAIT_NS);
    }
    (void)kill(child, SIGKILL);
    (void)waitpid(child, &status, 0);
    return -1;
}

static char *make_crl(const struct publication *publication)
{
    const struct ca *ca = publication->platform->ca;
    struct crl *crl =
        cvm_crl_new(ca, strtoll(publication->number, NULL, 10), publication->validity_ms);
    int32_t failed = !crl;
    for (uint32_t i = 0; i < publication->count && !failed; i++) {
        const struct entry *entry = &publication->entries[i];
        failed = cvm_crl_add(crl, entry->serial, entry->revoked_at_ms, entry->reason);
    }
    char *pem = failed ? NULL : cvm_crl_sign(crl, ca);
    cvm_crl_free(crl);
    return pem;
}

static void sign_and_write(void *argument)
{
    struct publication *publication = argument;
    char *pem = make_crl(publication);
    char why[ERROR_SIZE - 32] = "it could not be signed";
    if (!pem || cvm_crl_write(publication->platform->folder, pem, why, sizeof why)) {
        publication->answer = CVM_ANSWER_UNAVAILABLE;
        (void)snprintf(publication->error, sizeof publication->error, "no new CRL: %s", why);
    } else if (*publication->command && run_command(publication->command)) {
        publication->answer = CVM_ANSWER_UNAVAILABLE;
        (void)snprintf(publication->error, sizeof publication->error,
            "crl.pem is new, but ca.crl_command failed");
    } else {
        (void)cvm_crl_read(publication->platform->folder, &publication->next_update_ms);
    }
    free(pem);
}

static void written(void *argument)
{
    finish(argument);
}

/* --- The number ------------------------------------------------------------------------------- */

static void take_number(struct publication *publication);

static void got_swap(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct publication *publication = argument;
    const cvm_host_t *host = publication->platform->host;
    (void)op;
    if (answer == CVM_ANSWER_CONFLICT && ++publication->swaps < MOST_SWAPS)
        take_number(publication);
    else if (answer != CVM_ANSWER_OK)
        give_up(publication, "its number can't be stored");
    else if (host->run(publication->platform->context, sign_and_write, written, publication))
        give_up(publication, "out of memory");
}

static void got_number(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct publication *publication = argument;
    struct platform *platform = publication->platform;
    const char *last = platform->host->op_text(op, CVM_OUT_VALUE);
    if (answer != CVM_ANSWER_OK && answer != CVM_ANSWER_NOT_FOUND) {
        give_up(publication, "the store does not answer");
        return;
    }
    /* crl.pem may be ahead of a store that was restored from a backup. */
    int64_t next_update_ms, on_disk = cvm_crl_read(platform->folder, &next_update_ms);
    int64_t stored = last ? strtoll(last, NULL, 10) : 0;
    publication->is_first_number = answer == CVM_ANSWER_NOT_FOUND;
    (void)snprintf(publication->last_number, sizeof publication->last_number, "%s", last ? last : "");
    (void)snprintf(publication->number, sizeof publication->number, "%lld",
        (long long)(stored > on_disk ? stored : on_disk) + 1);
    if (platform->host->store_meta_swap(platform->context, NUMBER_NAME,
            publication->is_first_number ? NULL : publication->last_number, publication->number,
            got_swap, publication))
        give_up(publication, "out of memory");
}

static void take_number(struct publication *publication)
{
    struct platform *platform = publication->platform;
    if (platform->host->store_meta_get(platform->context, NUMBER_NAME, got_number, publication))
        give_up(publication, "out of memory");
}

/* --- The scans -------------------------------------------------------------------------------- */

static void scan(struct publication *publication);

static int32_t add_entry(struct publication *publication, const cvm_record_t *certificate)
{
    const cvm_host_t *host = publication->platform->host;
    int32_t is_held = publication->scanning == CVM_SCAN_SUSPENDED;
    if (strcmp(host->text(certificate, CVM_C_ISSUER), publication->platform->ca->key_id) != 0)
        return 0; /* another issuer's CRL lists it */
    if (publication->count == publication->room) {
        uint32_t room = publication->room ? 2 * publication->room : 64;
        struct entry *more = realloc(publication->entries, room * sizeof *more);
        if (!more)
            return -1;
        publication->entries = more;
        publication->room = room;
    }
    struct entry *entry = &publication->entries[publication->count++];
    int64_t revoked_at_ms = host->number(certificate, CVM_C_REVOKED_AT);
    if (!revoked_at_ms)
        revoked_at_ms = host->number(certificate, CVM_C_REVOKE_AFTER);
    entry->revoked_at_ms = revoked_at_ms && !is_held ? revoked_at_ms : publication->now_ms;
    (void)snprintf(
        entry->serial, sizeof entry->serial, "%s", host->text(certificate, CVM_C_SERIAL));
    (void)snprintf(entry->reason, sizeof entry->reason, "%s",
        is_held ? "certificateHold" : host->text(certificate, CVM_C_REASON));
    return 0;
}

/* A certificate that is revoked is not held too: a serial may stand in a CRL once. */
static int32_t is_due(const struct publication *publication, const cvm_record_t *certificate)
{
    const cvm_host_t *host = publication->platform->host;
    int64_t revoke_after_ms = host->number(certificate, CVM_C_REVOKE_AFTER);
    return strcmp(host->text(certificate, CVM_C_STATE), "retiring") == 0 &&
           revoke_after_ms <= publication->now_ms;
}

static void scanned(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct publication *publication = argument;
    const cvm_host_t *host = publication->platform->host;
    const cvm_record_t *certificate;
    uint32_t count = 0;
    if (answer != CVM_ANSWER_OK) {
        give_up(publication, "the store does not answer");
        return;
    }
    for (; (certificate = host->op_record(op, count)); count++) {
        int32_t skip =
            publication->scanning == CVM_SCAN_SUSPENDED && is_due(publication, certificate);
        if (!skip && add_entry(publication, certificate)) {
            give_up(publication, "out of memory");
            return;
        }
        (void)snprintf(publication->after, sizeof publication->after, "%s",
            host->text(certificate, CVM_C_CERTIFICATE_ID));
    }
    if (count == PAGE) {
        scan(publication);
    } else if (publication->scanning == CVM_SCAN_REVOKED) {
        publication->scanning = CVM_SCAN_SUSPENDED;
        *publication->after = 0;
        scan(publication);
    } else {
        take_number(publication);
    }
}

static void scan(struct publication *publication)
{
    struct platform *platform = publication->platform;
    if (platform->host->store_scan(platform->context, publication->scanning, publication->after,
            publication->now_ms, PAGE, scanned, publication))
        give_up(publication, "out of memory");
}

/* --- The lock, in a thread -------------------------------------------------------------------- */

static void lock(void *argument)
{
    struct publication *publication = argument;
    char path[LONGEST_PATH];
    (void)snprintf(path, sizeof path, "%s/.crl.lock", publication->platform->folder);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            publication->lock_fd = fd;
            return;
        }
        nap(LOCK_WAIT_NS);
    }
    (void)snprintf(publication->error, sizeof publication->error, "%.80s: %s", path,
        fd < 0 ? strerror(errno) : "another process does not let go of it");
    if (fd >= 0)
        (void)close(fd);
}

static void locked(void *argument)
{
    struct publication *publication = argument;
    if (publication->lock_fd < 0) {
        char why[ERROR_SIZE - 32];
        (void)snprintf(why, sizeof why, "%.120s", publication->error);
        give_up(publication, why);
        return;
    }
    /* From now on: whoever asks later may have changed the store after this. */
    publication->waiting = publication->platform->waiting;
    publication->platform->waiting = NULL;
    publication->now_ms = cvm_ca_now_ms();
    publication->scanning = CVM_SCAN_REVOKED;
    scan(publication);
}

/* --- When ------------------------------------------------------------------------------------- */

static void start(struct platform *platform)
{
    const cvm_host_t *host = platform->host;
    struct publication *publication = calloc(1, sizeof *publication);
    if (publication) {
        publication->platform = platform;
        publication->lock_fd = -1;
        publication->command = host->property(platform->context, "ca.crl_command");
        publication->validity_ms = host->property_number(platform->context, "ca.crl_validity");
        platform->publication = publication;
        if (!host->run(platform->context, lock, locked, publication))
            return;
        platform->publication = NULL;
        free(publication);
    }
    struct waiting *waiting = platform->waiting;
    platform->waiting = NULL;
    answer_all(platform, waiting, CVM_ANSWER_UNAVAILABLE, "out of memory");
}

static void interval_over(void *argument)
{
    struct platform *platform = argument;
    platform->is_scheduled = 0;
    start(platform);
}

void cvm_publish(struct platform *platform, cvm_op_t *op)
{
    if (op) {
        struct waiting *waiting = malloc(sizeof *waiting);
        if (!waiting) {
            platform->host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
            return;
        }
        *waiting = (struct waiting){platform->waiting, op};
        platform->waiting = waiting;
    }
    if (platform->publication || platform->is_scheduled)
        return; /* the next one follows by itself */
    int64_t wait_ms = platform->published_at_ms + LEAST_INTERVAL_MS - cvm_ca_now_ms();
    if (wait_ms > LEAST_INTERVAL_MS)
        wait_ms = LEAST_INTERVAL_MS; /* the clock was set back */
    platform->is_scheduled = 1;
    if (wait_ms <= 0 || platform->host->after(platform->context, wait_ms, interval_over, platform))
        interval_over(platform);
}

/* --- Without being asked ---------------------------------------------------------------------- */

static int32_t is_due_for_renewal(const struct platform *platform)
{
    int64_t validity_ms = platform->host->property_number(platform->context, "ca.crl_validity");
    int64_t next_update_ms, number = cvm_crl_read(platform->folder, &next_update_ms);
    platform->host->gauge(
        platform->context, CVM_GAUGE_CRL_NEXT_UPDATE, "", next_update_ms / 1000);
    return !number || (validity_ms && next_update_ms < cvm_ca_now_ms() + validity_ms / 2);
}

static void check_again(void *argument)
{
    cvm_publish_when_due(argument);
}

void cvm_publish_when_due(struct platform *platform)
{
    int64_t validity_ms = platform->host->property_number(platform->context, "ca.crl_validity");
    int64_t wait_ms = validity_ms && validity_ms / 8 < CHECK_EVERY_MS ? validity_ms / 8 : CHECK_EVERY_MS;
    /* Refused when the instance stops: then there is nothing to do either. */
    if (!platform->host->after(platform->context, wait_ms, check_again, platform) &&
        is_due_for_renewal(platform))
        cvm_publish(platform, NULL);
}
