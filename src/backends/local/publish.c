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
#define NOT_FOLLOWED      (-1) /* no version of the heads */
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

static void publish_tell_lag(struct platform *platform, const struct publication *publication)
{
    int64_t now_ms = (int64_t)cvm_monotonic_ms();
    int64_t most_ms = platform->host->property_number(platform->context, "ca.crl_max_lag");
    if (!publication->is_behind)
        platform->current_ms = now_ms;
    if (!platform->check)
        return; /* a command */
    int32_t is_late = publication->is_behind && now_ms - platform->current_ms > most_ms;
    if (is_late || !publication->is_behind)
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

static void publication_free(struct publication *publication)
{
    cvm_gather_forget(publication);
    cvm_crl_file_clear(&publication->file);
    for (uint32_t i = 0; i < MOST_ISSUERS; i++)
        cvm_crl_free(publication->newer[i]);
    publication->platform->host->timer_free(publication->pause);
    free(publication->der);
    free(publication);
}

/* What failed is tried again, less and less often, but the store is asked for its heads all the
 * time. */
static void publish_note_end(struct platform *platform, const struct publication *publication)
{
    int32_t failed = publication->answer != CVM_ANSWER_OK;
    int64_t patience_ms = platform->patience_ms ? 2 * platform->patience_ms : FOLLOW_EVERY_MS;
    platform->followed = failed || publication->is_behind ? NOT_FOLLOWED : publication->version;
    platform->must_write |= failed && publication->must_write && !publication->waiting;
    if (failed && !publication->is_unread)
        platform->patience_ms = patience_ms < CHECK_EVERY_MS ? patience_ms : CHECK_EVERY_MS;
    else
        platform->patience_ms = 0;
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
    publish_tell_file(platform, publication);
    publish_tell_failure(platform, publication);
    cvm_publish_answer(
        platform, publication->waiting, publication->answer, failed ? publication->error : NULL);
    if (platform->check && !failed)
        cvm_sweep(platform, &publication->heads);
    publication_free(publication);
    if (platform->waiting)
        publish_start(platform, 0);
    else
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
static void hand_over(void *argument)
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

static void handed_over(void *argument)
{
    cvm_publication_finish(argument);
}

static void publish_hand_over(struct publication *publication)
{
    const struct platform *platform = publication->platform;
    if (!*publication->command && !publication->is_server)
        cvm_publication_finish(publication);
    else if (platform->host->run(platform->context, hand_over, handed_over, publication))
        cvm_publication_give_up(publication, "out of memory");
}

/* --- Into the store --------------------------------------------------------------------------- */

static void publish_put_parts(struct publication *publication);

static struct crl_head publish_head(const struct publication *publication, uint32_t issuer)
{
    const struct crl *crl = publication->made[issuer];
    const struct crl *last = cvm_publication_newest(publication, issuer);
    struct crl_head head = {.number = crl->number, .made_ms = publication->now_ms};
    size_t length;
    uint8_t *der = cvm_crl_der(crl, &length);
    OPENSSL_free(der);
    head.parts = cvm_parts_of(length);
    (void)snprintf(
        head.issuer, sizeof head.issuer, "%s", publication->platform->issuers.list[issuer].key_id);
    (void)snprintf(head.sha256, sizeof head.sha256, "%s", crl->sha256);
    (void)snprintf(head.after, sizeof head.after, "%s", last ? last->sha256 : "-");
    return head;
}

void cvm_publication_said(struct publication *publication)
{
    publication->is_said = 1;
    publication->must_write = publication->must_explain = publication->is_behind = 0;
    memset(publication->is_lost, 0, sizeof publication->is_lost);
}

static void publish_again(struct publication *publication)
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
        publish_again(publication);
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

static void publish_parts_put(
    void *argument, cvm_answer_t answer, const uint8_t *der, size_t length)
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
    size_t length;
    struct crl_head head = publish_head(publication, publication->issuer);
    uint8_t *der = cvm_crl_der(publication->made[publication->issuer], &length);
    cvm_parts_put(platform, &head, der, der ? length : 0, publish_parts_put, publication);
    OPENSSL_free(der);
}

/* --- What is to be done ----------------------------------------------------------------------- */

const struct crl *cvm_publication_newest(const struct publication *publication, uint32_t issuer)
{
    const struct crl *newer = publication->newer[issuer];
    return newer ? newer : publication->file.crls[issuer];
}

/* There is none, or none in the store; crl.pem is ahead of a store that was restored; half of its
 * time is over, another validity was configured, or it is from a clock that was ahead: no broker
 * takes that one. */
int32_t cvm_publication_is_due(const struct publication *publication, uint32_t issuer)
{
    const struct ca_issuer *by = &publication->platform->issuers.list[issuer];
    const struct crl *newest = cvm_publication_newest(publication, issuer);
    const struct crl_head *head = cvm_heads_find(&publication->heads, by->key_id);
    int64_t now_ms = publication->platform->host->now_ms(publication->platform->context);
    int64_t validity_ms = publication->validity_ms;
    if (!by->key || (issuer && cvm_issuer_end_ms(by) <= now_ms))
        return 0;
    return publication->must_write || !newest || !head || publication->is_lost[issuer] ||
           newest->number > head->number || newest->this_update_ms > now_ms ||
           newest->next_update_ms < cvm_crl_end_ms(by, now_ms, validity_ms / 2) ||
           newest->next_update_ms > cvm_crl_end_ms(by, now_ms, validity_ms);
}

static int32_t publish_is_any_due(const struct publication *publication)
{
    int32_t is_due = publication->must_explain;
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

/* Who asked meanwhile is served as well; who asks later may change the store after this. */
static void publish_take_waiting(struct publication *publication)
{
    struct platform *platform = publication->platform;
    if (platform->waiting) {
        publication->first_sequence = -1;
        publication->is_said = 0;
    }
    publish_append(&publication->waiting, platform->waiting);
    platform->waiting = NULL;
}

static void publish_paused(void *argument)
{
    struct publication *publication = argument;
    publication->is_pausing = 0;
    publish_take_waiting(publication);
    publish_again(publication);
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

void cvm_publication_followed(struct publication *publication)
{
    int32_t is_needed = publication->waiting && !publication->is_said;
    /* Who wrote the second of two heads that came since has read the first one before he scanned:
     * he has found all that was written before this began. */
    if (publication->heads.sequence >= publication->first_sequence + 2)
        is_needed = 0;
    if (!is_needed && (publication->is_said || !publish_is_any_due(publication)))
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
        publish_again(publication);
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
    publication->first_sequence = -1;
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
        publish_take_waiting(publication);
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
    platform->must_write = 1; /* by the CA as it was read now */
    publish_start(platform, 1);
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
    if (is_check || now_ms >= platform->wait_until_ms)
        publish_start(platform, is_check);
}

int32_t cvm_publish_when_due(struct platform *platform)
{
    platform->check = platform->host->timer_new(platform->context, publish_tick, platform);
    if (!platform->check)
        return -1;
    platform->current_ms = platform->checked_ms = (int64_t)cvm_monotonic_ms();
    platform->host->timer_start(platform->check, FOLLOW_EVERY_MS);
    publish_start(platform, 1);
    return 0;
}
