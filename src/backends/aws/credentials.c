/* The keys at hand, and who waits for others. */
#include "credentials.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "search.h"

#define EARLY_MS 300000 /* before they expire, others are looked for */
#define LATE_MS  5000   /* before that they are not used any more */
#define AGAIN_MS 1000   /* after a look that found none */

struct aws_credentials {
    struct aws_search search;
    int32_t is_searching;
    struct aws_keys keys;
    uint32_t found;     /* looks that found some */
    int32_t is_expired; /* AWS said so */
    uint64_t again_ms;  /* by the monotonic clock: not sooner */
    char why[240];      /* the last look found none */
    struct aws_waiter *waiting;
};

static void credentials_tell(
    struct aws_credentials *credentials, const struct aws_keys *keys, const char *why)
{
    struct aws_waiter *last = credentials->waiting; /* those that come meanwhile come before it */
    while (last && last->next)
        last = last->next;
    for (struct aws_waiter *waiter = NULL; waiter != last && credentials->waiting;) {
        waiter = credentials->waiting;
        credentials->waiting = waiter->next;
        waiter->told(waiter, keys, why);
    }
}

static int32_t keys_last(const struct aws_credentials *credentials, int64_t ms)
{
    const struct aws_keys *keys = &credentials->keys;
    return keys->id && !credentials->is_expired &&
           (!keys->expires_ms || keys->expires_ms > cvm_now_ms() + ms);
}

static void credentials_found(struct aws_search *search, struct aws_keys *keys, const char *why)
{
    struct aws_credentials *credentials = (struct aws_credentials *)(void *)search;
    const cvm_host_t *host = search->host;
    credentials->is_searching = 0;
    if (keys) {
        cvm_aws_keys_clear(&credentials->keys);
        credentials->keys = *keys;
        credentials->keys.number = ++credentials->found;
        credentials->is_expired = 0;
    } else {
        credentials->again_ms = cvm_monotonic_ms() + AGAIN_MS;
        (void)snprintf(credentials->why, sizeof credentials->why, "%s", why);
        host->log(search->context, CVM_LEVEL_WARNING, credentials->why);
    }
    if (keys_last(credentials, LATE_MS))
        credentials_tell(credentials, &credentials->keys, NULL);
    else
        credentials_tell(credentials, NULL, keys ? "the AWS credentials have expired" : why);
}

static void credentials_look(struct aws_credentials *credentials)
{
    if (credentials->is_searching || cvm_monotonic_ms() < credentials->again_ms)
        return;
    credentials->is_searching = 1;
    cvm_aws_search_begin(&credentials->search);
}

struct aws_credentials *cvm_aws_credentials_new(
    const cvm_host_t *host, cvm_context_t *context, struct aws_http *http)
{
    struct aws_credentials *credentials = calloc(1, sizeof *credentials);
    if (credentials)
        credentials->search = (struct aws_search){
            .host = host, .context = context, .http = http, .ended = credentials_found};
    return credentials;
}

void cvm_aws_credentials_free(struct aws_credentials *credentials)
{
    if (!credentials)
        return;
    cvm_aws_search_cancel(&credentials->search);
    cvm_aws_keys_clear(&credentials->keys);
    free(credentials);
}

void cvm_aws_credentials_ask(struct aws_credentials *credentials, struct aws_waiter *waiter)
{
    if (!keys_last(credentials, EARLY_MS) && keys_last(credentials, LATE_MS)) {
        credentials_look(credentials);
    } else if (!keys_last(credentials, LATE_MS)) {
        waiter->next = credentials->waiting;
        credentials->waiting = waiter;
        credentials_look(credentials);
        if (!credentials->is_searching) /* it has found none a moment ago */
            credentials_tell(credentials, NULL, credentials->why);
        return;
    }
    waiter->told(waiter, &credentials->keys, NULL);
}

void cvm_aws_credentials_leave(struct aws_credentials *credentials, struct aws_waiter *waiter)
{
    for (struct aws_waiter **link = &credentials->waiting; *link; link = &(*link)->next)
        if (*link == waiter) {
            *link = waiter->next;
            return;
        }
}

void cvm_aws_credentials_expire(struct aws_credentials *credentials, uint32_t number)
{
    credentials->is_expired |= credentials->keys.number == number;
}
