/* Bringing crl.pem to what the store's heads say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admission.h"
#include "base/clock.h"
#include "chain.h"
#include "parts.h"
#include "publication.h"

#define MOST_MISSES 3

static void follow_fetch(struct publication *publication);
static void follow_note_first(struct publication *publication);

static void follow_forget_newer(struct publication *publication)
{
    for (uint32_t i = 0; i < MOST_ISSUERS; i++) {
        cvm_crl_free(publication->newer[i]);
        publication->newer[i] = NULL;
    }
}

/* --- Writing, in a thread --------------------------------------------------------------------- */

/* Does the new one lack what the old one lists for good? 1, 0, or -1 without memory. */
static int32_t follow_lacks(const struct crl *newer, const struct crl *older)
{
    struct crl_list now = {0}, before = {0};
    int32_t lacks = cvm_crl_entries(newer, &now) || cvm_crl_entries(older, &before) ? -1 : 0;
    for (size_t i = 0; !lacks && i < before.count; i++) {
        const struct crl_entry *found = cvm_crl_list_find(&now, &before.entries[i]);
        lacks =
            !cvm_crl_entry_is_held(&before.entries[i]) && (!found || cvm_crl_entry_is_held(found));
    }
    cvm_crl_list_clear(&now);
    cvm_crl_list_clear(&before);
    return lacks;
}

/* The certificates may have ended; else the store was restored, or its CRL comes of a scan that
 * missed some. The direct successor of crl.pem's has carried them over. */
static int32_t follow_must_explain(const struct publication *publication, uint32_t i)
{
    const struct ca_issuer *issuer = &publication->platform->issuers.list[i];
    const struct crl_head *head = cvm_heads_find(&publication->heads, issuer->key_id);
    const struct crl *newer = publication->newer[i], *older = publication->file.crls[i];
    return newer && older && issuer->key && head && strcmp(head->after, older->sha256) != 0 &&
           follow_lacks(newer, older);
}

/* What crl.pem is to hold. An issuer that has ended has no devices any more. */
static void follow_choose(const struct publication *publication, struct crl *chosen[MOST_ISSUERS])
{
    const struct ca_issuers *issuers = &publication->platform->issuers;
    for (uint32_t i = 0; i < issuers->count; i++) {
        struct crl *newest =
            publication->newer[i] ? publication->newer[i] : publication->file.crls[i];
        chosen[i] = cvm_issuers_counts(issuers, i) ? newest : NULL;
    }
}

/* 0, or -1 and why. */
static int32_t follow_write_locked(struct publication *publication, char *why, size_t why_size)
{
    const struct platform *platform = publication->platform;
    struct crl *chosen[MOST_ISSUERS] = {NULL};
    struct crl_file written;
    char sha256[CVM_SHA256_HEX_SIZE];
    size_t length;
    free(cvm_crl_file_load(platform->folder, &length, sha256));
    publication->is_file_new = strcmp(sha256, publication->file.sha256) != 0;
    if (publication->is_file_new)
        return 0;
    /* The chain first: a broker's CRLs are checked by it. */
    if (publication->must_write_chain &&
        cvm_chain_write(platform->ca, &platform->issuers, platform->folder, why, why_size))
        return -1;
    publication->must_write_chain = 0;
    follow_choose(publication, chosen);
    if (cvm_crl_file_write(
            platform->ca, &platform->issuers, platform->folder, chosen, &written, why, why_size))
        return -1;
    /* What was there may have been lost, or another: the command runs, also if this was known. */
    cvm_crl_file_set_handed_over(platform->folder, NOT_HANDED_OVER);
    follow_forget_newer(publication);
    cvm_crl_file_clear(&publication->file);
    publication->file = written;
    return 0;
}

static void follow_write(void *argument)
{
    struct publication *publication = argument;
    struct platform *platform = publication->platform;
    char why[LONGEST_REASON] = "";
    if (!publication->knows_ended)
        for (uint32_t i = 0; i < platform->issuers.count; i++)
            publication->must_explain |= follow_must_explain(publication, i) != 0;
    if (publication->must_explain && !publication->knows_ended)
        return;
    int lock = cvm_crl_file_lock(platform->folder, &platform->must_end, why, sizeof why);
    if (lock < 0 || follow_write_locked(publication, why, sizeof why))
        cvm_publication_fail(publication, "no new CRL: ", why);
    cvm_crl_file_unlock(lock);
}

static int32_t follow_must_write(const struct publication *publication)
{
    int32_t must_write = !publication->file.is_whole || publication->must_write_chain;
    for (uint32_t i = 0; i < publication->platform->issuers.count; i++)
        must_write |= publication->newer[i] != NULL;
    return must_write;
}

/* A file without any CRL is not written: brokers are to notice that there is none. */
static int32_t follow_has_any(const struct publication *publication)
{
    return cvm_publication_newest(publication, 0) != NULL;
}

static void follow_written(void *argument)
{
    struct publication *publication = argument;
    if (publication->answer != CVM_ANSWER_OK) {
        cvm_publication_finish(publication);
    } else if (publication->is_file_new) {
        publication->is_file_new = 0;
        cvm_publication_again(publication);
    } else {
        cvm_publication_followed(publication);
    }
}

static void follow_fetched(struct publication *publication)
{
    const struct platform *platform = publication->platform;
    if (!follow_must_write(publication) || !follow_has_any(publication))
        cvm_publication_followed(publication);
    else if (platform->host->run(platform->context, follow_write, follow_written, publication))
        cvm_publication_give_up(publication, "out of memory");
}

/* --- Getting what is newer -------------------------------------------------------------------- */

static void follow_next_issuer(struct publication *publication)
{
    free(publication->der);
    publication->der = NULL;
    publication->issuer++;
    follow_fetch(publication);
}

/* Without it a new one is made of what else is known. */
static void follow_lose(struct publication *publication, const char *why)
{
    const struct platform *platform = publication->platform;
    char line[LONGEST_REASON];
    (void)snprintf(line, sizeof line, "the store's CRL of issuer %s %s",
        platform->issuers.list[publication->issuer].key_id, why);
    if (publication->version != platform->seen) /* else it was told */
        platform->host->log(platform->context, CVM_LEVEL_ERROR, line);
    cvm_crl_free(publication->newer[publication->issuer]);
    publication->newer[publication->issuer] = NULL;
    publication->is_lost[publication->issuer] = 1;
    follow_next_issuer(publication);
}

static void follow_parse(void *argument)
{
    struct publication *publication = argument;
    const struct ca_issuer *issuer = &publication->platform->issuers.list[publication->issuer];
    publication->newer[publication->issuer] =
        cvm_crl_parse(publication->der, publication->der_length, issuer->certificate);
}

static void follow_parsed(void *argument)
{
    struct publication *publication = argument;
    const char *key_id = publication->platform->issuers.list[publication->issuer].key_id;
    const struct crl *crl = publication->newer[publication->issuer];
    if (crl && crl->number == cvm_heads_find(&publication->heads, key_id)->number)
        follow_next_issuer(publication);
    else
        follow_lose(publication, crl ? "has another number than its head" : "is not signed by it");
}

static void follow_got(void *argument, cvm_answer_t answer, uint8_t *der, size_t length)
{
    struct publication *publication = argument;
    const struct platform *platform = publication->platform;
    if (answer == CVM_ANSWER_NOT_FOUND && ++publication->misses < MOST_MISSES) {
        cvm_publication_again(
            publication); /* it was replaced long ago; there are other heads by now */
        return;
    }
    if (answer == CVM_ANSWER_NOT_FOUND || answer == CVM_ANSWER_BROKEN) {
        follow_lose(publication, answer == CVM_ANSWER_BROKEN ? "is broken" : "is not there");
        return;
    }
    if (answer != CVM_ANSWER_OK) {
        cvm_publication_give_up(publication, "the store does not answer");
        return;
    }
    publication->der = der;
    publication->der_length = length;
    if (platform->host->run(platform->context, follow_parse, follow_parsed, publication))
        cvm_publication_give_up(publication, "out of memory");
}

/* Does the head tell of another CRL than the newest that is here? One that is ahead of the store's
 * stays: the store was restored, and is told. */
static int32_t follow_is_behind(const struct publication *publication, const struct crl_head *head)
{
    const struct crl *newest = cvm_publication_newest(publication, publication->issuer);
    return head && cvm_issuers_counts(&publication->platform->issuers, publication->issuer) &&
           !publication->is_lost[publication->issuer] &&
           (!newest || newest->number < head->number ||
               (newest->number == head->number && strcmp(newest->sha256, head->sha256) != 0));
}

/* One that was made here needs no getting. */
static int32_t follow_take_made(struct publication *publication, const struct crl_head *head)
{
    struct crl **made = &publication->made[publication->issuer];
    if (!*made || strcmp((*made)->sha256, head->sha256) != 0)
        return 0;
    cvm_crl_free(publication->newer[publication->issuer]);
    publication->newer[publication->issuer] = *made;
    *made = NULL;
    cvm_publication_said(publication);
    return 1;
}

static void follow_fetch(struct publication *publication)
{
    struct platform *platform = publication->platform;
    for (; publication->issuer < platform->issuers.count; publication->issuer++) {
        const struct crl_head *head =
            cvm_heads_find(&publication->heads, platform->issuers.list[publication->issuer].key_id);
        if (follow_is_behind(publication, head) && !follow_take_made(publication, head)) {
            cvm_crl_free(publication->newer[publication->issuer]);
            publication->newer[publication->issuer] = NULL;
            cvm_parts_get(platform, head, follow_got, publication);
            return;
        }
    }
    follow_fetched(publication);
}

/* --- Reading crl.pem, in a thread ------------------------------------------------------------- */

static void follow_read(void *argument)
{
    struct publication *publication = argument;
    const struct platform *platform = publication->platform;
    cvm_crl_file_clear(&publication->file);
    cvm_crl_file_read(platform->ca, &platform->issuers, platform->folder, &publication->file);
    publication->must_write_chain = cvm_chain_lacks(&platform->issuers, platform->folder);
}

static void follow_has_read(void *argument)
{
    struct publication *publication = argument;
    publication->issuer = 0;
    follow_fetch(publication);
}

static void follow_on(struct publication *publication)
{
    const struct platform *platform = publication->platform;
    follow_note_first(publication);
    if (platform->host->run(platform->context, follow_read, follow_has_read, publication))
        cvm_publication_give_up(publication, "out of memory");
}

/* --- The heads -------------------------------------------------------------------------------- */

static void follow_admitted(
    void *argument, cvm_answer_t answer, const char *why, struct ca_issuers *issuers)
{
    struct publication *publication = argument;
    struct platform *platform = publication->platform;
    if (answer != CVM_ANSWER_OK) {
        cvm_publication_give_up(publication, why);
        return;
    }
    cvm_gather_forget(publication); /* it goes by the issuers' places */
    follow_forget_newer(publication);
    memset(publication->is_lost, 0, sizeof publication->is_lost);
    publication->has_first = 0;
    cvm_platform_take_issuers(platform, issuers);
    follow_on(publication);
}

/* An issuer that is not known was admitted since. */
static int32_t follow_knows_issuers(const struct publication *publication)
{
    const struct platform *platform = publication->platform;
    int32_t knows = platform->issuers.count > 0;
    for (uint32_t i = 0; i < publication->heads.count; i++)
        knows &= cvm_issuers_find(&platform->issuers, publication->heads.list[i].issuer) != NULL;
    return knows;
}

/* Whether nothing is to be done: the heads are as they were, and it is not yet time to try again
 * what failed. */
static int32_t follow_is_idle(const struct publication *publication)
{
    const struct platform *platform = publication->platform;
    int32_t waits = platform->must_retry && (int64_t)cvm_monotonic_ms() < platform->wait_until_ms;
    if (publication->waiting || publication->is_check || publication->version != platform->seen)
        return 0;
    return waits || (!platform->must_retry && !publication->must_write);
}

static void follow_note_first(struct publication *publication)
{
    const struct ca_issuers *issuers = &publication->platform->issuers;
    if (publication->has_first)
        return;
    publication->has_first = 1;
    for (uint32_t i = 0; i < issuers->count; i++)
        publication->first_changes[i] =
            cvm_heads_changes(&publication->heads, issuers->list[i].key_id);
}

static void follow_take_heads(struct publication *publication, int64_t version)
{
    struct platform *platform = publication->platform;
    publication->version = version;
    publication->is_idle = follow_is_idle(publication);
    if (publication->is_idle)
        cvm_publication_finish(publication);
    else if (follow_knows_issuers(publication))
        follow_on(publication);
    else
        cvm_admission_ask(platform, platform->ca, follow_admitted, publication);
}

static void follow_got_heads(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct publication *publication = argument;
    const cvm_host_t *host = publication->platform->host;
    const char *text = host->op_text(op, CVM_OUT_VALUE);
    publication->heads = (struct crl_heads){.count = 0};
    if (answer == CVM_ANSWER_NOT_FOUND) {
        follow_take_heads(publication, 0);
    } else if (answer == CVM_ANSWER_OK && text &&
               (!cvm_heads_parse(text, &publication->heads) || publication->must_write)) {
        /* Who is told to write new ones puts them in the place of what can't be read. */
        follow_take_heads(publication, host->op_number(op, CVM_OUT_VERSION));
    } else {
        publication->is_unread = 1;
        cvm_publication_give_up(publication, answer == CVM_ANSWER_OK ? "the store's " HEADS_NAME
                                                                       " can't be read"
                                                                     : "the store does not answer");
    }
}

void cvm_follow(struct publication *publication)
{
    const struct platform *platform = publication->platform;
    if (platform->host->store_meta_get(
            platform->context, HEADS_NAME, follow_got_heads, publication))
        cvm_publication_give_up(publication, "out of memory");
}
