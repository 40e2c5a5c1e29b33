/*
 * What the CRLs are to list: what is suspended and what is revoked, by the store's scans, and what
 * the last CRL lists for good. That is carried over unless its certificate has ended, so that no
 * scan that misses a row takes a revocation back. A CRL does not say when a certificate ends: only
 * where no row was found for an entry, a scan for those that have ended is asked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "publication.h"

#define PAGE 1000

/* --- Signing, in a thread --------------------------------------------------------------------- */

static int32_t gather_add_all(struct crl_list *list, const struct crl_list *more)
{
    int32_t failed = 0;
    for (size_t i = 0; !failed && i < more->count; i++)
        failed = cvm_crl_list_add(list, &more->entries[i]);
    return failed;
}

/* Adds what is listed for good, but what has ended. 0, or -1. */
static int32_t gather_carry(
    const struct crl_list *before, const struct crl_list *ended, struct crl_list *list)
{
    int32_t failed = 0;
    for (size_t i = 0; !failed && i < before->count; i++)
        if (!cvm_crl_entry_is_held(&before->entries[i]) &&
            !cvm_crl_list_find(ended, &before->entries[i]))
            failed = cvm_crl_list_add(list, &before->entries[i]);
    return failed;
}

/* What the next CRL lists; said: what the newest one does. How many entries no row was found for,
 * or -1. */
static int64_t gather_list(const struct publication *publication, uint32_t issuer,
    const struct crl_list *said, struct crl_list *list)
{
    const struct crl_list *found = &publication->found[issuer];
    const struct crl_list *ended = &publication->ended[issuer];
    const struct crl *in_file = publication->newer[issuer] ? publication->file.crls[issuer] : NULL;
    struct crl_list also = {0};
    int32_t failed = gather_add_all(list, found) || gather_carry(said, ended, list) ||
                     (in_file && cvm_crl_entries(in_file, &also)) ||
                     gather_carry(&also, ended, list);
    cvm_crl_list_clear(&also);
    if (failed)
        return -1;
    cvm_crl_list_sort(list);
    return (int64_t)(list->count - found->count);
}

/* More than that of any CRL that is known, also where both the store and crl.pem were put back from
 * a backup: then the clock knows better. */
static int64_t gather_number(const struct publication *publication, uint32_t issuer)
{
    const char *key_id = publication->platform->issuers.list[issuer].key_id;
    const struct crl_head *head = cvm_heads_find(&publication->heads, key_id);
    const struct crl *newest = cvm_publication_newest(publication, issuer);
    int64_t last = publication->now_ms / 1000;
    if (head && head->number > last)
        last = head->number;
    if (newest && newest->number > last)
        last = newest->number;
    return last < INT64_MAX ? last + 1 : last;
}

static int32_t gather_make(struct publication *publication, uint32_t issuer,
    const struct crl_list *said, const struct crl_list *list)
{
    const struct ca_issuer *by = &publication->platform->issuers.list[issuer];
    if (cvm_crl_list_is_same(said, list) && !cvm_publication_is_due(publication, issuer))
        return 0;
    publication->made[issuer] =
        cvm_crl_make(by, gather_number(publication, issuer), publication->now_ms,
            cvm_crl_end_ms(by, publication->now_ms, publication->validity_ms), list);
    return publication->made[issuer] ? 0 : -1;
}

/* Where nobody has looked yet for what has ended, that comes first. An issuer of whose CRLs two
 * came since is left out of a comparison: they say all that was found. */
static int32_t gather_sign_one(struct publication *publication, uint32_t issuer)
{
    if (publication->is_comparing && cvm_publication_is_overtaken(publication, issuer))
        return 0;
    struct crl_list said = {0}, list = {0};
    const struct crl *newest = cvm_publication_newest(publication, issuer);
    int32_t failed = newest && cvm_crl_entries(newest, &said);
    int64_t carried = failed ? -1 : gather_list(publication, issuer, &said, &list);
    failed = carried < 0;
    if (carried > 0 && !publication->knows_ended) {
        publication->must_look_for_ended = 1;
    } else if (!failed) {
        publication->carried += (uint32_t)carried;
        failed = gather_make(publication, issuer, &said, &list);
    }
    cvm_crl_list_clear(&said);
    cvm_crl_list_clear(&list);
    return failed;
}

/* Whose CRL another server signs: is it in that? */
static uint32_t gather_unsigned(const struct publication *publication, uint32_t issuer)
{
    struct crl_list said = {0};
    const struct crl *newest = cvm_publication_newest(publication, issuer);
    const struct crl_list *found = &publication->found[issuer];
    uint32_t rows = 0;
    if (newest)
        (void)cvm_crl_entries(newest, &said);
    for (size_t i = 0; i < found->count; i++)
        rows += !cvm_crl_list_find(&said, &found->entries[i]);
    cvm_crl_list_clear(&said);
    return rows;
}

static struct foreign *gather_foreign(struct publication *publication, const char *issuer)
{
    uint32_t i = 0;
    while (i < publication->foreign_count && strcmp(publication->foreign[i].issuer, issuer) != 0)
        i++;
    if (i == MOST_FOREIGN)
        return NULL;
    if (i == publication->foreign_count) {
        (void)snprintf(
            publication->foreign[i].issuer, sizeof publication->foreign[i].issuer, "%s", issuer);
        publication->foreign[i].rows = 0;
        publication->foreign_count++;
    }
    return &publication->foreign[i];
}

static void gather_note_unsigned(struct publication *publication, uint32_t issuer)
{
    uint32_t rows = gather_unsigned(publication, issuer);
    struct foreign *foreign =
        rows ? gather_foreign(publication, publication->platform->issuers.list[issuer].key_id)
             : NULL;
    if (foreign)
        foreign->rows = rows;
}

static void gather_forget_made(struct publication *publication)
{
    for (uint32_t i = 0; i < MOST_ISSUERS; i++) {
        cvm_crl_free(publication->made[i]);
        publication->made[i] = NULL;
    }
}

static void gather_sign(void *argument)
{
    struct publication *publication = argument;
    const struct ca_issuers *issuers = &publication->platform->issuers;
    int32_t failed = 0;
    publication->must_look_for_ended = 0;
    publication->carried = 0;
    gather_forget_made(publication); /* what was too late */
    for (uint32_t i = 0; i < issuers->count; i++) {
        cvm_crl_list_sort(&publication->found[i]);
        cvm_crl_list_sort(&publication->ended[i]);
    }
    for (uint32_t i = 0; !failed && i < issuers->count; i++) {
        if (!cvm_issuers_counts(issuers, i))
            continue;
        if (issuers->list[i].key)
            failed = gather_sign_one(publication, i);
        else
            gather_note_unsigned(publication, i);
    }
    if (failed)
        cvm_publication_fail(publication, "no new CRL: ", "it could not be signed");
}

/* --- What is told ----------------------------------------------------------------------------- */

static uint32_t foreign_rows(const struct foreign *list, uint32_t count, const char *issuer)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(list[i].issuer, issuer) == 0)
            return list[i].rows;
    return 0;
}

/* An issuer that has none any more is told as 0; one that has more, by a line too. */
static void gather_tell_foreign(const struct publication *publication)
{
    struct platform *platform = publication->platform;
    const struct foreign *now = publication->foreign;
    for (uint32_t i = 0; i < platform->foreign_count; i++)
        if (!foreign_rows(now, publication->foreign_count, platform->foreign[i].issuer))
            platform->host->gauge(
                platform->context, CVM_GAUGE_CRL_UNSIGNED_ROWS, platform->foreign[i].issuer, 0);
    for (uint32_t i = 0; i < publication->foreign_count; i++) {
        char line[LONGEST_REASON];
        (void)snprintf(line, sizeof line,
            "%u revoked certificates of issuer %.40s are in no CRL: its key is not here (%s is)",
            now[i].rows, now[i].issuer, cvm_ca_issuing(platform->ca)->key_id);
        platform->host->gauge(
            platform->context, CVM_GAUGE_CRL_UNSIGNED_ROWS, now[i].issuer, now[i].rows);
        if (now[i].rows > foreign_rows(platform->foreign, platform->foreign_count, now[i].issuer))
            platform->host->log(platform->context, CVM_LEVEL_WARNING, line);
    }
    memcpy(platform->foreign, now, sizeof platform->foreign);
    platform->foreign_count = publication->foreign_count;
}

/* Each time that there are more. */
static void gather_tell_carried(const struct publication *publication)
{
    struct platform *platform = publication->platform;
    char line[LONGEST_REASON];
    if (publication->carried > platform->carried) {
        (void)snprintf(line, sizeof line,
            "%u certificates are revoked by the last CRL, and not by the store: they stay so",
            publication->carried);
        platform->host->log(platform->context, CVM_LEVEL_WARNING, line);
    }
    platform->carried = publication->carried;
    if (!publication->spoiled)
        return;
    (void)snprintf(line, sizeof line,
        "%u revoked certificates have a serial that is none: no CRL can list them",
        publication->spoiled);
    platform->host->log(platform->context, CVM_LEVEL_ERROR, line);
}

/* --- The scans -------------------------------------------------------------------------------- */

static void gather_scan(struct publication *publication);

/* It is no reason to leave out what can be listed. What is suspended and revoked as well is found
 * by both scans, and counted by the second. */
static void gather_note_foreign(
    struct publication *publication, const char *issuer, const cvm_record_t *certificate)
{
    const cvm_host_t *host = publication->platform->host;
    int32_t is_found_again =
        publication->scanning == CVM_SCAN_SUSPENDED &&
        strcmp(host->text(certificate, CVM_C_STATE), "retiring") == 0 &&
        host->number(certificate, CVM_C_REVOKE_AFTER) <= publication->store_now_ms;
    struct foreign *foreign = *issuer && !is_found_again && !publication->seeks_ended
                                  ? gather_foreign(publication, issuer)
                                  : NULL;
    if (foreign)
        foreign->rows++;
}

/* 0, or -1 without memory. */
static int32_t gather_take(
    struct publication *publication, uint32_t issuer, const cvm_record_t *certificate)
{
    const cvm_host_t *host = publication->platform->host;
    int32_t is_held = publication->scanning == CVM_SCAN_SUSPENDED;
    int64_t revoked_at_ms = host->number(certificate, CVM_C_REVOKED_AT);
    struct crl_entry entry;
    int64_t not_after_ms = host->number(certificate, CVM_C_NOT_AFTER);
    if (publication->seeks_ended &&
        (not_after_ms > publication->now_ms || not_after_ms > publication->store_now_ms))
        return 0;
    if (!revoked_at_ms)
        revoked_at_ms = host->number(certificate, CVM_C_REVOKE_AFTER);
    if (!revoked_at_ms || is_held)
        revoked_at_ms = publication->now_ms;
    if (cvm_crl_entry_set(&entry, host->text(certificate, CVM_C_SERIAL), revoked_at_ms,
            is_held ? "certificateHold" : host->text(certificate, CVM_C_REASON))) {
        publication->spoiled += !publication->seeks_ended;
        return 0;
    }
    return cvm_crl_list_add(
        publication->seeks_ended ? &publication->ended[issuer] : &publication->found[issuer],
        &entry);
}

static int32_t gather_add(struct publication *publication, const cvm_record_t *certificate)
{
    const struct ca_issuers *issuers = &publication->platform->issuers;
    const char *key_id = publication->platform->host->text(certificate, CVM_C_ISSUER);
    const struct ca_issuer *issuer = cvm_issuers_find(issuers, key_id);
    if (issuer)
        return gather_take(publication, (uint32_t)(issuer - issuers->list), certificate);
    gather_note_foreign(publication, key_id, certificate);
    return 0;
}

/* An empty store beside a CRL that lists something: a wrong path rather than a new beginning. */
static int32_t gather_is_lost(const struct publication *publication)
{
    const struct crl *newest = cvm_publication_newest(publication, 0);
    size_t found = publication->foreign_count;
    for (uint32_t i = 0; i < MOST_ISSUERS; i++)
        found += publication->found[i].count;
    return !publication->heads.count && newest && !cvm_crl_is_empty(newest) && !found;
}

static void gather_signed(void *argument);

static void gather_scanned_all(struct publication *publication)
{
    const struct platform *platform = publication->platform;
    publication->has_found = 1;
    publication->knows_ended |= publication->seeks_ended;
    if (gather_is_lost(publication))
        cvm_publication_give_up(publication,
            "this store knows of nothing, and crl.pem is another store's; if the store is the "
            "right one, move crl.pem away");
    else if (platform->host->run(platform->context, gather_sign, gather_signed, publication))
        cvm_publication_give_up(publication, "out of memory");
}

/* There is another page, or another kind. */
static void gather_page_done(struct publication *publication)
{
    if (!*publication->cursor && publication->scanning == CVM_SCAN_REVOKED) {
        gather_scanned_all(publication);
        return;
    }
    if (!*publication->cursor)
        publication->scanning = CVM_SCAN_REVOKED;
    gather_scan(publication);
}

static void gather_scanned(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct publication *publication = argument;
    const cvm_host_t *host = publication->platform->host;
    const cvm_record_t *certificate;
    if (answer != CVM_ANSWER_OK) {
        cvm_publication_give_up(publication, "the store does not answer");
        return;
    }
    for (uint32_t i = 0; (certificate = host->op_record(op, i)); i++) {
        if (gather_add(publication, certificate)) {
            cvm_publication_give_up(publication, "out of memory");
            return;
        }
    }
    const char *cursor = host->op_text(op, CVM_OUT_CURSOR);
    if (cursor && *cursor && strcmp(cursor, publication->cursor) == 0) {
        cvm_publication_give_up(publication, "the store's scan goes round");
        return;
    }
    (void)snprintf(publication->cursor, sizeof publication->cursor, "%s", cursor ? cursor : "");
    gather_page_done(publication);
}

static void gather_scan(struct publication *publication)
{
    const struct platform *platform = publication->platform;
    if (platform->host->store_scan(platform->context, publication->scanning, publication->cursor,
            publication->scan_before_ms, PAGE, gather_scanned, publication))
        cvm_publication_give_up(publication, "out of memory");
}

/* What has ended since the CRLs were made that are known. */
static void gather_scan_ended(struct publication *publication)
{
    publication->seeks_ended = 1;
    publication->scanning = CVM_SCAN_REVOKED;
    for (uint32_t i = 0; i < publication->platform->issuers.count; i++) {
        const struct crl *crls[] = {publication->newer[i], publication->file.crls[i]};
        for (size_t k = 0; k < sizeof crls / sizeof crls[0]; k++)
            if (crls[k] && crls[k]->this_update_ms < publication->scan_before_ms)
                publication->scan_before_ms = crls[k]->this_update_ms;
    }
    gather_scan(publication);
}

static void gather_signed(void *argument)
{
    struct publication *publication = argument;
    if (publication->answer != CVM_ANSWER_OK) {
        cvm_publication_finish(publication);
    } else if (publication->must_look_for_ended) {
        gather_scan_ended(publication);
    } else {
        gather_tell_foreign(publication);
        gather_tell_carried(publication);
        cvm_publication_gathered(publication);
    }
}

/* --- Beginning -------------------------------------------------------------------------------- */

void cvm_gather_forget(struct publication *publication)
{
    for (uint32_t i = 0; i < MOST_ISSUERS; i++) {
        cvm_crl_list_clear(&publication->found[i]);
        cvm_crl_list_clear(&publication->ended[i]);
    }
    gather_forget_made(publication);
    publication->has_found = publication->knows_ended = publication->seeks_ended = 0;
    publication->foreign_count = publication->spoiled = 0;
}

void cvm_gather(struct publication *publication)
{
    cvm_gather_forget(publication);
    publication->now_ms = cvm_now_ms();
    publication->store_now_ms = publication->scan_before_ms =
        publication->platform->host->now_ms(publication->platform->context);
    /* In this order: what is suspended and then revoked meanwhile is in one of them at least. */
    publication->scanning = CVM_SCAN_SUSPENDED;
    gather_scan(publication);
}

void cvm_gather_again(struct publication *publication)
{
    const struct platform *platform = publication->platform;
    if (platform->host->run(platform->context, gather_sign, gather_signed, publication))
        cvm_publication_give_up(publication, "out of memory");
}
