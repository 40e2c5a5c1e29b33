/* The way through the places, and the first of them. */
#include "search.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "environment.h"

static void (*const PLACES[])(struct aws_search *search) = {
    cvm_aws_ask_environment,
    cvm_aws_ask_profile,
    cvm_aws_ask_web_identity,
    cvm_aws_ask_container,
    cvm_aws_ask_instance,
};
#define PLACE_COUNT (sizeof PLACES / sizeof *PLACES)

/* --- The way ---------------------------------------------------------------------------------- */

static void search_forget(struct aws_search *search)
{
    free(search->role.arn);
    free(search->role.session);
    free(search->role.external_id);
    search->role = (struct aws_role){.arn = NULL};
    cvm_aws_signer_clear(&search->signer);
    OPENSSL_cleanse(search->metadata_token, sizeof search->metadata_token);
}

static void search_end(struct aws_search *search, struct aws_keys *keys, const char *why)
{
    search_forget(search);
    search->ended(search, keys, why);
}

static void search_ask(struct aws_search *search)
{
    if (search->place < PLACE_COUNT)
        PLACES[search->place](search);
    else
        search_end(search, NULL,
            "there are no AWS credentials: neither in the environment (AWS_ACCESS_KEY_ID) nor in a "
            "profile, nor has the container or the instance a role");
}

void cvm_aws_search_begin(struct aws_search *search)
{
    search->place = 0;
    search_ask(search);
}

void cvm_aws_search_cancel(struct aws_search *search)
{
    if (search->exchange)
        cvm_aws_http_cancel(search->exchange);
    search->exchange = NULL;
    search_forget(search);
}

void cvm_aws_search_found(struct aws_search *search, const char *id, const char *secret,
    const char *token, int64_t expires_ms)
{
    struct aws_keys keys = {.id = NULL};
    if (cvm_aws_keys_set(&keys, id, secret, token)) {
        search_end(search, NULL, "out of memory");
        return;
    }
    keys.expires_ms = expires_ms;
    if (!search->role.arn || search->role.is_tried) {
        search_end(search, &keys, NULL);
        return;
    }
    search->role.is_tried = 1;
    cvm_aws_assume_role(search, &keys);
    cvm_aws_keys_clear(&keys);
}

void cvm_aws_search_fail(struct aws_search *search, const char *what, const char *why)
{
    char text[240];
    (void)snprintf(text, sizeof text, "%s: %s", what, why);
    search_end(search, NULL, text);
}

void cvm_aws_search_pass(struct aws_search *search)
{
    if (search->role.arn) {
        cvm_aws_search_fail(search, "the AWS profile",
            "where its credential_source says that they are, there are no keys");
        return;
    }
    search->place++;
    search_ask(search);
}

void cvm_aws_search_send(
    struct aws_search *search, const struct aws_http_request *request, aws_http_done done)
{
    search->exchange = cvm_aws_http_send(search->http, request, done, search);
    if (!search->exchange)
        cvm_aws_search_fail(search, "AWS credentials", "out of memory");
}

int64_t cvm_aws_time(const char *text)
{
    int64_t ms = cvm_read_utc(text, "YYYY-MM-DDThh:mm:ss");
    return ms > 0 ? ms : 0;
}

/* --- The environment -------------------------------------------------------------------------- */

void cvm_aws_ask_environment(struct aws_search *search)
{
    const char *id = cvm_aws_variable("AWS_ACCESS_KEY_ID"),
               *secret = cvm_aws_variable("AWS_SECRET_ACCESS_KEY");
    if (id && secret)
        cvm_aws_search_found(search, id, secret, cvm_aws_variable("AWS_SESSION_TOKEN"), 0);
    else if (id || secret)
        cvm_aws_search_fail(
            search, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "one of them is missing");
    else
        cvm_aws_search_pass(search);
}
