/*
 * Publishing the CRL: by one process at a time, under the lock of ca/.crl.lock, at most once a
 * second: lock, scan what is suspended and what is revoked, take the next number from the store,
 * sign, write. The scans run under the lock, so that no older view of the store can follow a newer
 * one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/compat.h"
#include "command.h"
#include "crl.h"
#include "crl_lock.h"
#include "look.h"
#include "platform.h"

#define LEAST_INTERVAL_MS 1000
#define CHECK_EVERY_MS    60000
#define DOUBT_EVERY_MS    10000
#define PAGE              1000
#define NUMBER_NAME       "crl_number"
#define FIRST_NUMBER      1 /* of the CRL that is made with the CA */
#define MOST_SWAPS        5
#define LONGEST_PATH      4096
#define ERROR_SIZE        240

struct entry {
    char serial[41], reason[25];
    int32_t is_held;
    int64_t revoked_at_ms;
};

/* One CRL in the making, or a look at the one that there is. */
struct publication {
    struct platform *platform;
    struct waiting *waiting; /* who is answered by it */
    int32_t is_due, must_write, is_served, is_not_handed_over;
    struct crl_lock lock;
    cvm_scan_t scanning;
    int64_t now_ms;
    char cursor[CVM_CURSOR_SIZE];
    struct entry *entries;
    uint32_t count, room, swaps;
    int64_t number_on_disk, number;
    char last_number[24], new_number[24]; /* as the store has them */
    int64_t this_update_ms, next_update_ms;
    struct foreign foreign[MOST_FOREIGN]; /* entries of other issuers */
    uint32_t foreign_count;
    const char *command;
    int64_t validity_ms;
    cvm_answer_t answer;
    char error[ERROR_SIZE];
};

static void start(struct platform *platform);

/* --- The end ---------------------------------------------------------------------------------- */

void cvm_publish_answer(
    struct platform *platform, struct waiting *waiting, cvm_answer_t answer, const char *text)
{
    while (waiting) {
        struct waiting *next = waiting->next;
        platform->host->complete(waiting->op, answer, text);
        free(waiting);
        waiting = next;
    }
}

static void finish(struct publication *publication)
{
    struct platform *platform = publication->platform;
    const cvm_host_t *host = platform->host;
    int32_t failed = publication->answer != CVM_ANSWER_OK;
    cvm_crl_lock_let_go(&publication->lock);
    platform->publication = NULL;
    if (publication->is_not_handed_over) /* by the next check at the latest */
        platform->must_write = 1;
    if (publication->next_update_ms)
        host->gauge(
            platform->context, CVM_GAUGE_CRL_NEXT_UPDATE, "", publication->next_update_ms / 1000);
    if (failed)
        host->log(platform->context, CVM_LEVEL_ERROR, publication->error);
    cvm_publish_answer(
        platform, publication->waiting, publication->answer, failed ? publication->error : NULL);
    free(publication->entries);
    free(publication);
    if (platform->waiting)
        start(platform);
    else
        cvm_platform_go_on(platform);
}

static void fail(struct publication *publication, const char *what, const char *why)
{
    publication->answer = CVM_ANSWER_UNAVAILABLE;
    (void)snprintf(publication->error, sizeof publication->error, "%s%.120s", what, why);
}

static void give_up(struct publication *publication, const char *why)
{
    fail(publication, "no new CRL: ", why);
    finish(publication);
}

/* --- Signing and writing, in a thread --------------------------------------------------------- */

/* By serial; of two of one serial, the one that is for good comes first. */
static int compare(const void *a, const void *b)
{
    const struct entry *one = a, *other = b;
    int order = strcmp(one->serial, other->serial);
    return order ? order : one->is_held - other->is_held;
}

/* A serial stands in a CRL once; one that was revoked between the scans was found by both. */
static int32_t add_entries(struct crl *crl, struct entry *entries, uint32_t count)
{
    if (count)
        qsort(entries, count, sizeof *entries, compare);
    for (uint32_t i = 0; i < count; i++) {
        if (i && strcmp(entries[i].serial, entries[i - 1].serial) == 0)
            continue;
        if (cvm_crl_add(crl, entries[i].serial, entries[i].revoked_at_ms, entries[i].reason))
            return -1;
    }
    return 0;
}

static char *make_crl(const struct publication *publication)
{
    const struct ca *ca = publication->platform->ca;
    struct crl *crl = cvm_crl_new(ca, publication->number, publication->validity_ms);
    char *pem = crl && !add_entries(crl, publication->entries, publication->count)
                    ? cvm_crl_sign(crl, ca)
                    : NULL;
    cvm_crl_free(crl);
    return pem;
}

/* Runs ca.crl_command without the lock: it may take its time, and reads what is newest. */
static void hand_over(void *argument)
{
    struct publication *publication = argument;
    cvm_crl_lock_let_go(&publication->lock);
    if (*publication->command &&
        cvm_command_run(publication->command, &publication->platform->must_end)) {
        publication->is_not_handed_over = 1;
        fail(publication, "crl.pem is new, but ca.crl_command failed", "");
    }
}

static void sign_and_write(void *argument)
{
    struct publication *publication = argument;
    const struct platform *platform = publication->platform;
    char *pem = make_crl(publication);
    char why[ERROR_SIZE] = "it could not be signed";
    int32_t failed = !pem || cvm_crl_write(platform->ca, platform->folder, pem, why, sizeof why);
    free(pem);
    if (failed) {
        fail(publication, "no new CRL: ", why);
        return;
    }
    (void)cvm_crl_read(
        platform->ca, platform->folder, &publication->this_update_ms, &publication->next_update_ms);
    cvm_crl_lock_done(&publication->lock);
    hand_over(publication);
}

static void written(void *argument)
{
    finish(argument);
}

/* --- The number ------------------------------------------------------------------------------- */

static void take_number(struct publication *publication);

static void number_stored(void *argument, cvm_op_t *op, cvm_answer_t answer)
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

/* More than the store's last one; than crl.pem's, which is ahead of a store that was restored from
 * a backup; and than the seconds since 1970, which are ahead of all CRLs if both were restored. */
static int64_t next_number(const struct publication *publication)
{
    int64_t last = strtoll(publication->last_number, NULL, 10);
    if (last < publication->number_on_disk)
        last = publication->number_on_disk;
    if (last < publication->now_ms / 1000)
        last = publication->now_ms / 1000;
    return last < INT64_MAX ? last + 1 : last;
}

/* An empty store beside a CRL that is not the first one: a wrong path rather than a new beginning.
 */
static int32_t is_lost(const struct publication *publication)
{
    return publication->number_on_disk > FIRST_NUMBER && !publication->count &&
           !publication->foreign_count;
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
    if (answer == CVM_ANSWER_NOT_FOUND && is_lost(publication)) {
        give_up(publication, "this store knows of nothing, and crl.pem is another store's; if the "
                             "store is the right one, move crl.pem away");
        return;
    }
    (void)snprintf(
        publication->last_number, sizeof publication->last_number, "%s", last ? last : "");
    publication->number = next_number(publication);
    (void)snprintf(publication->new_number, sizeof publication->new_number, "%lld",
        (long long)publication->number);
    if (platform->host->store_meta_put(platform->context, NUMBER_NAME,
            answer == CVM_ANSWER_OK ? platform->host->op_number(op, CVM_OUT_VERSION) : 0,
            publication->new_number, number_stored, publication))
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

/* Room for one more; NULL without memory. */
static struct entry *new_entry(struct publication *publication)
{
    if (publication->count == publication->room) {
        uint32_t room = publication->room ? 2 * publication->room : 64;
        struct entry *more = realloc(publication->entries, room * sizeof *more);
        if (!more)
            return NULL;
        publication->entries = more;
        publication->room = room;
    }
    return &publication->entries[publication->count++];
}

/* It is no reason to leave out what can be listed. What is suspended and revoked as well is found
 * by both scans, and counted by the second. */
static void note_foreign(
    struct publication *publication, const char *issuer, const cvm_record_t *certificate)
{
    const cvm_host_t *host = publication->platform->host;
    uint32_t i = 0;
    int32_t is_found_again = publication->scanning == CVM_SCAN_SUSPENDED &&
                             strcmp(host->text(certificate, CVM_C_STATE), "retiring") == 0 &&
                             host->number(certificate, CVM_C_REVOKE_AFTER) <= publication->now_ms;
    if (!*issuer || is_found_again)
        return;
    while (i < publication->foreign_count && strcmp(publication->foreign[i].issuer, issuer) != 0)
        i++;
    if (i == MOST_FOREIGN)
        return;
    if (i == publication->foreign_count) {
        (void)snprintf(
            publication->foreign[i].issuer, sizeof publication->foreign[i].issuer, "%s", issuer);
        publication->foreign_count++;
    }
    publication->foreign[i].rows++;
}

static int32_t add_entry(struct publication *publication, const cvm_record_t *certificate)
{
    const cvm_host_t *host = publication->platform->host;
    const char *issuer = host->text(certificate, CVM_C_ISSUER);
    if (strcmp(issuer, publication->platform->ca->key_id) != 0) {
        note_foreign(publication, issuer, certificate);
        return 0;
    }
    struct entry *entry = new_entry(publication);
    if (!entry)
        return -1;
    int64_t revoked_at_ms = host->number(certificate, CVM_C_REVOKED_AT);
    if (!revoked_at_ms)
        revoked_at_ms = host->number(certificate, CVM_C_REVOKE_AFTER);
    entry->is_held = publication->scanning == CVM_SCAN_SUSPENDED;
    entry->revoked_at_ms = revoked_at_ms && !entry->is_held ? revoked_at_ms : publication->now_ms;
    (void)snprintf(
        entry->serial, sizeof entry->serial, "%s", host->text(certificate, CVM_C_SERIAL));
    (void)snprintf(entry->reason, sizeof entry->reason, "%s",
        entry->is_held ? "certificateHold" : host->text(certificate, CVM_C_REASON));
    return 0;
}

static uint32_t foreign_rows(const struct foreign *list, uint32_t count, const char *issuer)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(list[i].issuer, issuer) == 0)
            return list[i].rows;
    return 0;
}

/* An issuer that has none any more is told as 0; one that has more, by a line too. */
static void tell_foreign(const struct publication *publication)
{
    struct platform *platform = publication->platform;
    const struct foreign *now = publication->foreign;
    for (uint32_t i = 0; i < platform->foreign_count; i++)
        if (!foreign_rows(now, publication->foreign_count, platform->foreign[i].issuer))
            platform->host->gauge(
                platform->context, CVM_GAUGE_CRL_UNSIGNED_ROWS, platform->foreign[i].issuer, 0);
    for (uint32_t i = 0; i < publication->foreign_count; i++) {
        char line[ERROR_SIZE];
        (void)snprintf(line, sizeof line,
            "%u revoked certificates of issuer %.40s are in no CRL: this server signs for %s alone",
            now[i].rows, now[i].issuer, platform->ca->key_id);
        platform->host->gauge(
            platform->context, CVM_GAUGE_CRL_UNSIGNED_ROWS, now[i].issuer, now[i].rows);
        if (now[i].rows > foreign_rows(platform->foreign, platform->foreign_count, now[i].issuer))
            platform->host->log(platform->context, CVM_LEVEL_WARNING, line);
    }
    memcpy(platform->foreign, now, sizeof platform->foreign);
    platform->foreign_count = publication->foreign_count;
}

/* There is another page, or another kind; else it takes its number. */
static void after_page(struct publication *publication)
{
    if (*publication->cursor) {
        scan(publication);
    } else if (publication->scanning == CVM_SCAN_SUSPENDED) {
        publication->scanning = CVM_SCAN_REVOKED;
        scan(publication);
    } else {
        tell_foreign(publication);
        take_number(publication);
    }
}

static void scanned(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct publication *publication = argument;
    const cvm_host_t *host = publication->platform->host;
    const cvm_record_t *certificate;
    if (answer != CVM_ANSWER_OK) {
        give_up(publication, "the store does not answer");
        return;
    }
    for (uint32_t i = 0; (certificate = host->op_record(op, i)); i++) {
        if (add_entry(publication, certificate)) {
            give_up(publication, "out of memory");
            return;
        }
    }
    const char *cursor = host->op_text(op, CVM_OUT_CURSOR);
    (void)snprintf(publication->cursor, sizeof publication->cursor, "%s", cursor ? cursor : "");
    after_page(publication);
}

static void scan(struct publication *publication)
{
    struct platform *platform = publication->platform;
    if (platform->host->store_scan(platform->context, publication->scanning, publication->cursor,
            publication->now_ms, PAGE, scanned, publication))
        give_up(publication, "out of memory");
}

/* --- Its turn, in a thread -------------------------------------------------------------------- */

/* At most one CRL a second, whoever writes them: a broker that reads each would do nothing else. */
static void keep_distance(const struct platform *platform)
{
    char path[LONGEST_PATH];
    struct stat file;
    (void)snprintf(path, sizeof path, "%s/crl.pem", platform->folder);
    if (stat(path, &file))
        return;
    int64_t written_ms = (int64_t)file.st_mtim.tv_sec * 1000 + file.st_mtim.tv_nsec / 1000000;
    int64_t age_ms = cvm_now_ms() - written_ms;
    if (age_ms >= 0 && age_ms < LEAST_INTERVAL_MS)
        cvm_sleep_us((uint32_t)(LEAST_INTERVAL_MS - age_ms) * 1000);
}

/* It is missing or broken, half of its time is over, another validity was configured, or it is from
 * a clock that was ahead: no broker takes that one. */
static int32_t is_due(const struct publication *publication)
{
    const struct ca *ca = publication->platform->ca;
    return !publication->number_on_disk || publication->this_update_ms > cvm_now_ms() ||
           publication->next_update_ms < cvm_crl_end_ms(ca, publication->validity_ms / 2) ||
           publication->next_update_ms > cvm_crl_end_ms(ca, publication->validity_ms);
}

static int32_t will_write(const struct publication *publication)
{
    return publication->is_due || publication->must_write ||
           (publication->waiting && !publication->is_served);
}

static void prepare(void *argument)
{
    struct publication *publication = argument;
    struct platform *platform = publication->platform;
    char why[ERROR_SIZE];
    if (cvm_crl_lock_take(
            &publication->lock, platform->folder, &platform->must_end, why, sizeof why)) {
        fail(publication, "no new CRL: ", why);
        return;
    }
    publication->is_served = cvm_crl_lock_is_served(&publication->lock);
    publication->number_on_disk = cvm_crl_read(
        platform->ca, platform->folder, &publication->this_update_ms, &publication->next_update_ms);
    publication->is_due = is_due(publication);
    if (will_write(publication))
        keep_distance(platform);
}

static void append_waiting(struct waiting **list, struct waiting *more)
{
    while (*list)
        list = &(*list)->next;
    *list = more;
}

static void begin(struct publication *publication)
{
    struct platform *platform = publication->platform;
    /* Who asked meanwhile is served as well; who asks later may change the store after this. */
    append_waiting(&publication->waiting, platform->waiting);
    platform->waiting = NULL;
    cvm_crl_lock_begin(&publication->lock);
    publication->now_ms = platform->host->now_ms(platform->context);
    /* In this order: what is suspended and then revoked meanwhile is in one of them at least. */
    publication->scanning = CVM_SCAN_SUSPENDED;
    scan(publication);
}

/* The last number that was taken is crl.pem's; else one of the two was put back from a backup, or
 * a publisher was cut short, and crl.pem may say other than the store. */
static void compare_number(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct publication *publication = argument;
    const char *last = publication->platform->host->op_text(op, CVM_OUT_VALUE);
    if (answer == CVM_ANSWER_OK && last && strtoll(last, NULL, 10) != publication->number_on_disk)
        begin(publication);
    else
        finish(publication);
}

/* Nobody waits. */
static void look_at_number(struct publication *publication)
{
    struct platform *platform = publication->platform;
    if (platform->host->store_meta_get(platform->context, NUMBER_NAME, compare_number, publication))
        finish(publication);
}

/* Another process' CRL tells what is waited for; but whether it handed that over is not known. */
static void served(struct publication *publication)
{
    const cvm_host_t *host = publication->platform->host;
    if (!*publication->command)
        finish(publication);
    else if (host->run(publication->platform->context, hand_over, written, publication))
        give_up(publication, "out of memory");
}

static void prepared(void *argument)
{
    struct publication *publication = argument;
    if (publication->lock.fd < 0)
        finish(publication);
    else if (will_write(publication))
        begin(publication);
    else if (publication->waiting)
        served(publication);
    else
        look_at_number(publication);
}

/* --- When ------------------------------------------------------------------------------------- */

static struct publication *publication_new(struct platform *platform)
{
    const cvm_host_t *host = platform->host;
    struct publication *publication = calloc(1, sizeof *publication);
    if (!publication)
        return NULL;
    publication->platform = platform;
    publication->lock.fd = -1;
    publication->command = host->property(platform->context, "ca.crl_command");
    publication->validity_ms = host->property_number(platform->context, "ca.crl_validity");
    publication->must_write = platform->must_write;
    publication->waiting = platform->waiting;
    return publication;
}

/* 0, or -1 without memory. */
static int32_t start_publication(struct platform *platform)
{
    struct publication *publication = publication_new(platform);
    if (!publication)
        return -1;
    if (platform->host->run(platform->context, prepare, prepared, publication)) {
        free(publication);
        return -1;
    }
    platform->publication = publication;
    platform->waiting = NULL;
    platform->must_write = 0;
    return 0;
}

/* Writes a CRL for those who wait, or looks whether one is due. */
static void start(struct platform *platform)
{
    if (platform->publication)
        return; /* the next one follows by itself */
    /* A CRL of a clock that is wrong refuses every device. */
    const char *why = platform->host->clock_doubt(platform->context);
    if (atomic_load(&platform->must_end))
        why = "the instance stops";
    if (!why && !start_publication(platform))
        return;
    struct waiting *waiting = platform->waiting;
    platform->waiting = NULL;
    cvm_publish_answer(platform, waiting, CVM_ANSWER_UNAVAILABLE, why ? why : "out of memory");
    cvm_platform_go_on(platform);
}

int32_t cvm_publish_wait(struct platform *platform, struct waiting **list, cvm_op_t *op)
{
    struct waiting *waiting = malloc(sizeof *waiting);
    if (!waiting) {
        platform->host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
        return -1;
    }
    *waiting = (struct waiting){*list, op};
    *list = waiting;
    return 0;
}

void cvm_publish(struct platform *platform, cvm_op_t *op)
{
    if (!cvm_publish_wait(platform, &platform->waiting, op))
        start(platform);
}

void cvm_publish_all(struct platform *platform, struct waiting *waiting)
{
    while (waiting) {
        struct waiting *next = waiting->next;
        waiting->next = platform->waiting;
        platform->waiting = waiting;
        waiting = next;
    }
    platform->must_write = 1; /* by the CA as it was read now */
    start(platform);
}

/* When to look again. */
static int64_t check_wait_ms(const struct platform *platform)
{
    int64_t validity_ms = platform->host->property_number(platform->context, "ca.crl_validity");
    if (platform->host->clock_doubt(platform->context)) /* until it is right again */
        return DOUBT_EVERY_MS;
    return validity_ms && validity_ms / 8 < CHECK_EVERY_MS ? validity_ms / 8 : CHECK_EVERY_MS;
}

static void publish_if_due(struct platform *platform)
{
    platform->host->timer_start(platform->check, check_wait_ms(platform));
    start(platform);
}

static void check_again(void *argument)
{
    struct platform *platform = argument;
    publish_if_due(platform);
    cvm_look(platform, NULL);
}

int32_t cvm_publish_when_due(struct platform *platform)
{
    platform->check = platform->host->timer_new(platform->context, check_again, platform);
    if (!platform->check)
        return -1;
    publish_if_due(platform);
    return 0;
}
