/* The store's values are gone through by name; a part's tells all that is needed. */
#include "sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "parts.h"

#define SWEEP_EVERY_MS 60000
#define AGAIN_AFTER_MS 900000 /* nothing has changed, but what was kept gets older */
#define KEEP_S         3600   /* who was stopped while he read a CRL still finds it */
#define MOST_KEPT      8      /* of an issuer: large CRLs of a busy hour would fill the store */
#define PAGE           1000

/* A part of a CRL that is not the newest. */
struct old_part {
    char name[PART_NAME_SIZE], issuer[KEY_ID_SIZE];
    int64_t number, version;
};

struct sweep {
    struct platform *platform;
    struct crl_heads heads;
    char cursor[CVM_CURSOR_SIZE];
    struct old_part *parts;
    size_t count, room, next;
};

static void sweep_end(struct sweep *sweep)
{
    struct platform *platform = sweep->platform;
    platform->sweep = NULL;
    free(sweep->parts);
    free(sweep);
    cvm_platform_go_on(platform);
}

/* --- Removing --------------------------------------------------------------------------------- */

static void sweep_remove(struct sweep *sweep);

static void sweep_removed(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct sweep *sweep = argument;
    (void)op;
    (void)answer; /* another server may have been faster */
    sweep->next++;
    sweep_remove(sweep);
}

static void sweep_remove(struct sweep *sweep)
{
    const struct platform *platform = sweep->platform;
    if (sweep->next == sweep->count || atomic_load(&sweep->platform->must_end)) {
        sweep_end(sweep);
        return;
    }
    const struct old_part *part = &sweep->parts[sweep->next];
    if (platform->host->store_meta_put(
            platform->context, part->name, part->version, NULL, sweep_removed, sweep))
        sweep_end(sweep);
}

/* --- Choosing --------------------------------------------------------------------------------- */

/* By issuer, the newest first. */
static int sweep_compare(const void *a, const void *b)
{
    const struct old_part *one = a, *other = b;
    int order = strcmp(one->issuer, other->issuer);
    return order ? order : (one->number < other->number) - (one->number > other->number);
}

/* A CRL's number is no less than the seconds since 1970 when it was made, and that is when the one
 * before it was replaced. Keeps in the list what is to be removed. */
static void sweep_choose(struct sweep *sweep)
{
    int64_t now_s = sweep->platform->host->now_ms(sweep->platform->context) / 1000;
    const char *issuer = "";
    int64_t number = 0, replaced_s = 0;
    size_t chosen = 0;
    uint32_t older = 0;
    qsort(sweep->parts, sweep->count, sizeof sweep->parts[0], sweep_compare);
    for (size_t i = 0; i < sweep->count; i++) {
        struct old_part part = sweep->parts[i];
        int32_t is_first = strcmp(issuer, part.issuer) != 0;
        if (is_first) {
            const struct crl_head *head = cvm_heads_find(&sweep->heads, part.issuer);
            issuer = head->issuer;
            number = head->number;
            older = 0;
        }
        if (part.number != number) {
            replaced_s = number;
            number = part.number;
            older++;
        }
        if (replaced_s + KEEP_S < now_s || older > MOST_KEPT)
            sweep->parts[chosen++] = part;
    }
    sweep->platform->has_old_parts = chosen < sweep->count;
    sweep->count = chosen;
}

/* --- Looking ---------------------------------------------------------------------------------- */

/* Those of a number that is still to come belong to somebody who is publishing. 0, or -1. */
static int32_t sweep_take(struct sweep *sweep, const char *name, int64_t version)
{
    struct old_part part = {.version = version};
    if (!version || strncmp(name, PART_PREFIX, strlen(PART_PREFIX)) != 0)
        return 0;
    (void)snprintf(part.issuer, sizeof part.issuer, "%s", name + strlen(PART_PREFIX));
    const struct crl_head *head = cvm_heads_find(&sweep->heads, part.issuer);
    const char *behind = name + strlen(PART_PREFIX) + strlen(part.issuer);
    if (!head || *behind != '.')
        return 0;
    part.number = strtoll(behind + 1, NULL, 10);
    if (part.number <= 0 || part.number >= head->number)
        return 0;
    (void)snprintf(part.name, sizeof part.name, "%s", name);
    if (sweep->count == sweep->room) {
        size_t room = sweep->room ? 2 * sweep->room : 64;
        struct old_part *more = realloc(sweep->parts, room * sizeof *more);
        if (!more)
            return -1;
        sweep->parts = more;
        sweep->room = room;
    }
    sweep->parts[sweep->count++] = part;
    return 0;
}

static void sweep_scan(struct sweep *sweep);

static void sweep_scanned(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct sweep *sweep = argument;
    const cvm_host_t *host = sweep->platform->host;
    const cvm_record_t *value;
    int32_t failed = answer != CVM_ANSWER_OK;
    for (uint32_t i = 0; !failed && (value = host->op_record(op, i)); i++)
        failed =
            sweep_take(sweep, host->text(value, CVM_V_NAME), host->number(value, CVM_V_VERSION));
    char before[CVM_CURSOR_SIZE];
    const char *cursor = host->op_text(op, CVM_OUT_CURSOR);
    (void)snprintf(before, sizeof before, "%s", sweep->cursor);
    (void)snprintf(sweep->cursor, sizeof sweep->cursor, "%s", cursor ? cursor : "");
    failed |= cursor && *cursor && strcmp(cursor, before) == 0; /* it goes round */
    if (failed || atomic_load(&sweep->platform->must_end)) {
        sweep_end(sweep);
    } else if (*sweep->cursor) {
        sweep_scan(sweep);
    } else {
        if (sweep->count)
            sweep_choose(sweep);
        sweep_remove(sweep);
    }
}

static void sweep_scan(struct sweep *sweep)
{
    const struct platform *platform = sweep->platform;
    if (platform->host->store_scan(
            platform->context, CVM_SCAN_META, sweep->cursor, 0, PAGE, sweep_scanned, sweep))
        sweep_end(sweep);
}

void cvm_sweep(struct platform *platform, const struct crl_heads *heads)
{
    int64_t now_ms = (int64_t)cvm_monotonic_ms();
    int64_t since_ms = platform->swept_ms ? now_ms - platform->swept_ms : INT64_MAX;
    int32_t is_new = heads->sequence != platform->swept_sequence;
    if (platform->sweep || !(is_new ? since_ms >= SWEEP_EVERY_MS
                                    : platform->has_old_parts && since_ms >= AGAIN_AFTER_MS))
        return;
    struct sweep *sweep = calloc(1, sizeof *sweep);
    if (!sweep)
        return;
    sweep->platform = platform;
    sweep->heads = *heads;
    platform->sweep = sweep;
    platform->swept_ms = now_ms;
    platform->swept_sequence = heads->sequence;
    sweep_scan(sweep);
}
