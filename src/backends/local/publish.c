/*
 * When a publication runs, what it decides, and how new CRLs come into the store: parts first, then
 * the heads, on the version that was read before the scans. Who waits is answered once a CRL that
 * says what he wants to be said is in the store and on this machine's disk, and handed over.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "command.h"
#include "documents.h"
#include "look.h"
#include "parts.h"
#include "publication.h"
#include "sweep.h"

#define LEAST_INTERVAL_MS 1000 /* between two CRLs, whoever writes them: a broker reads each */
#define FOLLOW_EVERY_MS   1000
#define CHECK_EVERY_MS    60000
#define DOUBT_EVERY_MS    10000
#define MOST_ROUNDS       20
#define LAG_SUBJECT       "the store's CRLs"

static void publish_start(struct platform *platform, int32_t is_check);

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

/* Is crl.pem what the heads say? */
static int32_t publish_is_current(const struct publication *publication)
{
    const struct platform *platform = publication->platform;
    int32_t is_current = publication->file.is_whole;
    for (uint32_t i = 0; is_current && i < publication->heads.count; i++) {
        const struct crl_head *head = &publication->heads.list[i];
        const struct ca_issuer *issuer = cvm_issuers_find(&platform->issuers, head->issuer);
        uint32_t at = issuer ? (uint32_t)(issuer - platform->issuers.list) : 0;
        const struct crl *crl = publication->file.crls[at];
        is_current = issuer && (!cvm_issuers_counts(&platform->issuers, at) ||
                                   (crl && crl->number >= head->number));
    }
    return is_current;
}

static void publish_tell_lag(struct platform *platform, const struct publication *publication)
{
    int64_t now_ms = (int64_t)cvm_monotonic_ms();
    int64_t most_ms = platform->host->property_number(platform->context, "ca.crl_max_lag");
    int32_t is_behind = publication->is_unread || !platform->is_current;
    if (!is_behind)
        platform->current_ms = now_ms;
    if (!publication->is_server)
        return;
    int32_t is_late = is_behind && now_ms - platform->current_ms > most_ms;
    if (is_late || !is_behind)
        platform->host->health(platform->context, LAG_SUBJECT,
            is_late ? "could not be followed for longer than ca.crl_max_lag" : NULL, 0, 0, 0);
}

static void publish_tell_file(struct platform *platform, const struct publication *publication)
{
    int64_t ends_ms = 0;
    for (uint32_t i = 0; i < platform->issuers.count; i++) {
        const struct crl *crl = publication->file.crls[i];
        const char *key_id = platform->issuers.list[i].key_id;
        const struct crl_head *head = cvm_heads_find(&publication->heads, key_id);
        if (!crl)
            continue;
        if (!ends_ms || crl->next_update_ms < ends_ms)
            ends_ms = crl->next_update_ms;
        platform->host->gauge(platform->context, CVM_GAUGE_CRL_NUMBER, key_id, crl->number);
        if (head && head->number == crl->number)
            platform->host->gauge(
                platform->context, CVM_GAUGE_CRL_MADE, key_id, head->made_ms / 1000);
    }
    if (ends_ms)
        platform->host->gauge(platform->context, CVM_GAUGE_CRL_NEXT_UPDATE, "", ends_ms / 1000);
}

static void publication_free(void *argument)
{
    struct publication *publication = argument;
    cvm_gather_forget(publication);
    cvm_crl_file_clear(&publication->file);
    for (uint32_t i = 0; i < MOST_ISSUERS; i++)
        cvm_crl_free(publication->newer[i]);
    free(publication->der);
    free(publication);
}

static void publication_is_freed(void *argument)
{
    (void)argument;
}

/* A CRL of 100,000 entries takes a quarter of a second to free: not on the loop. */
static void publication_drop(struct publication *publication)
{
    const struct platform *platform = publication->platform;
    platform->host->timer_free(publication->pause);
    int32_t is_small = publication->is_idle || atomic_load(&publication->platform->must_end);
    if (is_small ||
        platform->host->run(platform->context, publication_free, publication_is_freed, publication))
        publication_free(publication);
}

/* What failed is tried again, less and less often; the store is asked for its heads all the time.
 */
static void publish_note_end(struct platform *platform, const struct publication *publication)
{
    int32_t failed = publication->answer != CVM_ANSWER_OK;
    int64_t patience_ms = platform->patience_ms ? 2 * platform->patience_ms : FOLLOW_EVERY_MS;
    if (publication->is_idle || publication->is_unread || failed)
        platform->is_changed |= publication->is_first;
    if (publication->is_idle || publication->is_unread || (failed && !publication->waiting))
        platform->must_write |= publication->must_write;
    if (publication->is_idle || publication->is_unread)
        return;
    platform->seen = publication->version;
    platform->is_current = publish_is_current(publication);
    platform->must_retry = failed || !platform->is_current;
    platform->patience_ms = !platform->must_retry          ? 0
                            : patience_ms < CHECK_EVERY_MS ? patience_ms
                                                           : CHECK_EVERY_MS;
    platform->wait_until_ms = (int64_t)cvm_monotonic_ms() + platform->patience_ms;
}

/* The same again is told once a minute. */
static void publish_tell_failure(struct platform *platform, const struct publication *publication)
{
    int64_t now_ms = (int64_t)cvm_monotonic_ms();
    int32_t failed = publication->answer != CVM_ANSWER_OK;
    if (failed && (publication->waiting || strcmp(platform->failure, publication->error) != 0 ||
                      now_ms - platform->failure_told_ms >= CHECK_EVERY_MS)) {
        platform->host->log(platform->context, CVM_LEVEL_ERROR, publication->error);
        platform->failure_told_ms = now_ms;
    }
    (void)snprintf(platform->failure, sizeof platform->failure, "%s", publication->error);
}

void cvm_publication_finish(struct publication *publication)
{
    struct platform *platform = publication->platform;
    int32_t failed = publication->answer != CVM_ANSWER_OK;
    platform->publication = NULL;
    publish_note_end(platform, publication);
    publish_tell_lag(platform, publication);
    publish_tell_failure(platform, publication);
    cvm_publish_answer(
        platform, publication->waiting, publication->answer, failed ? publication->error : NULL);
    if (publication->is_server && !publication->is_unread)
        cvm_sweep(platform, &publication->heads);
    publication_drop(publication);
    cvm_platform_go_on(platform);
}

void cvm_publication_fail(struct publication *publication, const char *what, const char *why)
{
    publication->answer = CVM_ANSWER_UNAVAILABLE;
    (void)snprintf(publication->error, sizeof publication->error, "%s%.200s", what, why);
}

void cvm_publication_give_up(struct publication *publication, const char *why)
{
    cvm_publication_fail(publication, "no new CRL: ", why);
    cvm_publication_finish(publication);
}

/* --- Handing over ----------------------------------------------------------------------------- */

/* Without the lock: it may take its time, and reads what is newest. */
static void publish_run_command(void *argument)
{
    struct publication *publication = argument;
    struct platform *platform = publication->platform;
    cvm_documents_serve(publication);
    if (!*publication->command || !*publication->file.sha256 ||
        cvm_crl_file_is_handed_over(platform->folder, publication->file.sha256))
        return;
    if (cvm_command_run(publication->command, &platform->must_end))
        cvm_publication_fail(publication, "crl.pem is new, but ca.crl_command failed", "");
    else
        cvm_crl_file_set_handed_over(platform->folder, publication->file.sha256);
}

static void publish_handed_over(void *argument)
{
    cvm_publication_finish(argument);
}

static void publish_hand_over(struct publication *publication)
{
    const struct platform *platform = publication->platform;
    if (!*publication->command && !publication->is_server)
        cvm_publication_finish(publication);
    else if (platform->host->run(
                 platform->context, publish_run_command, publish_handed_over, publication))
        cvm_publication_give_up(publication, "out of memory");
}

/* --- Into the store --------------------------------------------------------------------------- */

static void publish_put_parts(struct publication *publication);

static struct crl_head publish_head(const struct publication *publication, uint32_t issuer)
{
    const struct crl *crl = publication->made[issuer];
    const struct crl *last = cvm_publication_newest(publication, issuer);
    const char *key_id = publication->platform->issuers.list[issuer].key_id;
    struct crl_head head = {.number = crl->number,
        .made_ms = publication->store_now_ms,
        .changes = cvm_heads_changes(&publication->heads, key_id) + 1,
        .parts = cvm_parts_of(crl->der_length)};
    (void)snprintf(head.issuer, sizeof head.issuer, "%s", key_id);
    (void)snprintf(head.sha256, sizeof head.sha256, "%s", crl->sha256);
    (void)snprintf(head.after, sizeof head.after, "%s", last ? last->sha256 : NO_CRL);
    return head;
}

void cvm_publication_said(struct publication *publication)
{
    publication->is_said = 1;
    publication->must_write = publication->must_explain = 0;
    memset(publication->is_lost, 0, sizeof publication->is_lost);
}

void cvm_publication_again(struct publication *publication)
{
    if (++publication->rounds < MOST_ROUNDS)
        cvm_follow(publication);
    else
        cvm_publication_give_up(publication, "others were faster each time");
}

/* An outcome that is not known is found by the heads that are read next: they are ours, or not. */
static void publish_heads_put(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct publication *publication = argument;
    (void)op;
    if (answer == CVM_ANSWER_OK)
        cvm_publication_said(publication);
    if (answer == CVM_ANSWER_OK || answer == CVM_ANSWER_CONFLICT || answer == CVM_ANSWER_UNKNOWN)
        cvm_publication_again(publication);
    else
        cvm_publication_give_up(publication, "it can't be stored");
}

static void publish_put_heads(struct publication *publication)
{
    const struct platform *platform = publication->platform;
    struct crl_heads heads = publication->heads;
    int32_t failed = 0;
    heads.sequence++;
    for (uint32_t i = 0; i < platform->issuers.count; i++) {
        if (!publication->made[i])
            continue;
        struct crl_head head = publish_head(publication, i);
        failed |= cvm_heads_set(&heads, &head);
    }
    char *text = failed ? NULL : cvm_heads_text(&heads);
    if (!text || platform->host->store_meta_put(platform->context, HEADS_NAME, publication->version,
                     text, publish_heads_put, publication))
        cvm_publication_give_up(
            publication, failed ? "there are too many issuers" : "out of memory");
    free(text);
}

static void publish_parts_put(void *argument, cvm_answer_t answer, uint8_t *der, size_t length)
{
    struct publication *publication = argument;
    (void)der;
    (void)length;
    if (answer != CVM_ANSWER_OK) {
        cvm_publication_give_up(publication, "it can't be stored");
        return;
    }
    publication->issuer++;
    publish_put_parts(publication);
}

static void publish_put_parts(struct publication *publication)
{
    struct platform *platform = publication->platform;
    while (publication->issuer < platform->issuers.count && !publication->made[publication->issuer])
        publication->issuer++;
    if (publication->issuer == platform->issuers.count) {
        publish_put_heads(publication);
        return;
    }
    const struct crl *crl = publication->made[publication->issuer];
    struct crl_head head = publish_head(publication, publication->issuer);
    cvm_parts_put(platform, &head, crl->der, crl->der_length, publish_parts_put, publication);
}

/* --- What is to be done ----------------------------------------------------------------------- */

const struct crl *cvm_publication_newest(const struct publication *publication, uint32_t issuer)
{
    const struct crl *newer = publication->newer[issuer];
    return newer ? newer : publication->file.crls[issuer];
}

/* Half of the time that it was made for is over, or it is from a clock that was ahead: no broker
 * takes that one. Where servers have other validities, each would find the others' wrong: so what
 * was configured since counts once, for a server that starts or reloads. */
static int32_t publish_is_ending(
    const struct publication *publication, const struct ca_issuer *by, const struct crl *crl)
{
    int64_t now_ms = cvm_now_ms(), validity_ms = publication->validity_ms;
    int64_t made_ms = crl->this_update_ms + CRL_BACKDATE_MS;
    int64_t ends_ms = crl->next_update_ms;
    if (crl->this_update_ms > now_ms)
        return 1;
    if (ends_ms < cvm_issuer_end_ms(by) && now_ms >= made_ms + (ends_ms - made_ms) / 2)
        return 1;
    return publication->is_first && (ends_ms < cvm_crl_end_ms(by, now_ms, validity_ms / 2) ||
                                        ends_ms > cvm_crl_end_ms(by, now_ms, validity_ms));
}

/* There is none, or none in the store; crl.pem is ahead of a store that was restored; or it ends.
 */
int32_t cvm_publication_is_due(const struct publication *publication, uint32_t issuer)
{
    const struct ca_issuer *by = &publication->platform->issuers.list[issuer];
    const struct crl *newest = cvm_publication_newest(publication, issuer);
    const struct crl_head *head = cvm_heads_find(&publication->heads, by->key_id);
    if (!by->key || !cvm_issuers_counts(&publication->platform->issuers, issuer))
        return 0;
    return publication->must_write || !newest || !head || publication->is_lost[issuer] ||
           newest->number > head->number || publish_is_ending(publication, by, newest);
}

static int32_t publish_is_any_due(const struct publication *publication)
{
    int32_t is_due = 0;
    for (uint32_t i = 0; i < publication->platform->issuers.count; i++)
        is_due |= cvm_publication_is_due(publication, i);
    return is_due;
}

static void publish_append(struct waiting **list, struct waiting *more)
{
    while (*list)
        list = &(*list)->next;
    *list = more;
}

static void publish_paused(void *argument)
{
    struct publication *publication = argument;
    publication->is_pausing = 0;
    cvm_follow(publication); /* no round: nobody was faster */
}

/* The heads are read again after the pause, since what was read before the scans counts. */
static void publish_pause(struct publication *publication, int64_t pause_ms)
{
    const struct platform *platform = publication->platform;
    if (!publication->pause)
        publication->pause =
            platform->host->timer_new(platform->context, publish_paused, publication);
    publication->is_pausing = publication->pause != NULL;
    if (atomic_load(&platform->must_end))
        cvm_publication_give_up(publication, "the instance stops");
    else if (publication->is_pausing)
        platform->host->timer_start(publication->pause, pause_ms);
    else
        cvm_publication_give_up(publication, "out of memory");
}

static void publish_make(struct publication *publication)
{
    const struct platform *platform = publication->platform;
    int64_t age_ms =
        platform->host->now_ms(platform->context) - cvm_heads_made_ms(&publication->heads);
    const char *why = platform->host->clock_doubt(platform->context);
    /* A CRL of a clock that is wrong refuses every device. */
    if (why && !publication->waiting)
        publish_hand_over(publication);
    else if (why)
        cvm_publication_give_up(publication, why);
    else if (age_ms >= 0 && age_ms < LEAST_INTERVAL_MS)
        publish_pause(publication, LEAST_INTERVAL_MS - age_ms);
    else
        cvm_gather(publication);
}

/* Of two who publish at once one is told of a conflict; perhaps the other's CRL says all that was
 * found here. */
static void publish_compare(struct publication *publication)
{
    publication->is_comparing = 1;
    cvm_gather_again(publication);
}

/* Who wrote the second of two CRLs that came since has read the first one before he scanned: he has
 * found all that was written before this began. */
int32_t cvm_publication_is_overtaken(const struct publication *publication, uint32_t issuer)
{
    const char *key_id = publication->platform->issuers.list[issuer].key_id;
    return cvm_heads_changes(&publication->heads, key_id) >= publication->first_changes[issuer] + 2;
}

static int32_t publish_is_overtaken(const struct publication *publication)
{
    const struct ca_issuers *issuers = &publication->platform->issuers;
    int32_t is_overtaken = 1;
    for (uint32_t i = 0; i < issuers->count; i++)
        is_overtaken &= !issuers->list[i].key || !cvm_issuers_counts(issuers, i) ||
                        cvm_publication_is_overtaken(publication, i);
    return is_overtaken;
}

static int32_t publish_is_needed(const struct publication *publication)
{
    if (publication->must_write || publication->must_explain)
        return 1;
    return !publication->is_said && (publication->waiting || publish_is_any_due(publication));
}

void cvm_publication_followed(struct publication *publication)
{
    publish_tell_file(publication->platform, publication);
    publication->is_said |= publish_is_overtaken(publication);
    if (!publish_is_needed(publication))
        publish_hand_over(publication);
    else if (publication->has_found)
        publish_compare(publication);
    else
        publish_make(publication);
}

void cvm_publication_gathered(struct publication *publication)
{
    int32_t is_comparing = publication->is_comparing, has_made = 0;
    publication->is_comparing = 0;
    for (uint32_t i = 0; i < MOST_ISSUERS; i++)
        has_made |= publication->made[i] != NULL;
    if (!has_made) {
        publication->is_said = 1;
        publication->must_explain = 0;
        cvm_publication_again(publication);
    } else if (is_comparing) { /* of scans that are older than the heads */
        cvm_gather_forget(publication);
        publish_make(publication);
    } else {
        publication->issuer = 0;
        publish_put_parts(publication);
    }
}

/* --- When ------------------------------------------------------------------------------------- */

static struct publication *publication_new(struct platform *platform)
{
    const cvm_host_t *host = platform->host;
    struct publication *publication = calloc(1, sizeof *publication);
    if (!publication)
        return NULL;
    publication->platform = platform;
    publication->is_server = platform->check != NULL;
    publication->command = host->property(platform->context, "ca.crl_command");
    publication->validity_ms = host->property_number(platform->context, "ca.crl_validity");
    publication->must_write = platform->must_write;
    return publication;
}

/* Follows the store's heads, and publishes for those who wait, and what is due. */
static void publish_start(struct platform *platform, int32_t is_check)
{
    if (platform->publication || platform->is_admitting)
        return; /* the next one follows by itself */
    struct publication *publication =
        atomic_load(&platform->must_end) ? NULL : publication_new(platform);
    if (publication) {
        platform->publication = publication;
        platform->must_write = 0;
        publication->is_check = is_check;
        publication->waiting = platform->waiting;
        platform->waiting = NULL;
        publication->is_first = platform->is_changed;
        platform->is_changed = 0;
        cvm_follow(publication);
        return;
    }
    struct waiting *waiting = platform->waiting;
    platform->waiting = NULL;
    cvm_publish_answer(platform, waiting, CVM_ANSWER_UNAVAILABLE,
        atomic_load(&platform->must_end) ? "the instance stops" : "out of memory");
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
        publish_start(platform, 0);
}

void cvm_publish_all(struct platform *platform, struct waiting *waiting)
{
    publish_append(&platform->waiting, waiting);
    platform->must_write = platform->is_changed = 1; /* by the CA as it was read now */
    publish_start(platform, 1);
}

void cvm_publish_go_on(struct platform *platform)
{
    if (platform->waiting)
        publish_start(platform, 0);
}

void cvm_publish_stop(struct platform *platform)
{
    struct publication *publication = platform->publication;
    platform->host->timer_free(platform->check);
    platform->check = NULL;
    if (publication && publication->is_pausing)
        cvm_publication_give_up(publication, "the instance stops");
}

/* When all is looked at again. */
static int64_t publish_check_ms(const struct platform *platform)
{
    int64_t validity_ms = platform->host->property_number(platform->context, "ca.crl_validity");
    if (platform->host->clock_doubt(platform->context)) /* until it is right again */
        return DOUBT_EVERY_MS;
    return validity_ms && validity_ms / 8 < CHECK_EVERY_MS ? validity_ms / 8 : CHECK_EVERY_MS;
}

static void publish_tick(void *argument)
{
    struct platform *platform = argument;
    int64_t now_ms = (int64_t)cvm_monotonic_ms();
    int32_t is_check = now_ms - platform->checked_ms >= publish_check_ms(platform);
    platform->host->timer_start(platform->check, FOLLOW_EVERY_MS);
    if (is_check) {
        platform->checked_ms = now_ms;
        cvm_look(platform, NULL);
    }
    publish_start(platform, is_check);
}

int32_t cvm_publish_when_due(struct platform *platform)
{
    platform->check = platform->host->timer_new(platform->context, publish_tick, platform);
    if (!platform->check)
        return -1;
    platform->current_ms = platform->checked_ms = (int64_t)cvm_monotonic_ms();
    platform->is_changed = 1;
    platform->host->timer_start(platform->check, FOLLOW_EVERY_MS);
    publish_start(platform, 1);
    return 0;
}
