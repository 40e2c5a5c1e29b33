/* Keys of a profile in the shared files, its own or its role's. What takes a program or a browser
 * to get (credential_process, SSO) is not followed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "environment.h"
#include "profile.h"
#include "search.h"

static const char WHAT[] = "the AWS profile";

/* A value of a profile; NULL. why is "" unless a file can't be read. */
struct values {
    char *id, *secret, *token;
    char *role_arn, *source_profile, *credential_source, *external_id, *session;
    int32_t is_there;    /* it has a region, at least */
    const char *foreign; /* what it has that is not followed; NULL */
    char why[200];
};

static void values_clear(struct values *values)
{
    char *const ALL[] = {values->id, values->secret, values->token, values->role_arn,
        values->source_profile, values->credential_source, values->external_id, values->session};
    for (size_t i = 0; i < sizeof ALL / sizeof *ALL; i++)
        cvm_secret_free_text(ALL[i]);
}

static char *values_get(struct values *values, const char *profile, const char *name)
{
    return *values->why ? NULL
                        : cvm_aws_profile_get(profile, name, values->why, sizeof values->why);
}

static const char *find_foreign(struct values *values, const char *profile)
{
    static const char *const NAMES[] = {
        "credential_process", "sso_session", "sso_start_url", "web_identity_token_file"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        char *value = values_get(values, profile, NAMES[i]);
        cvm_secret_free_text(value);
        if (value)
            return NAMES[i];
    }
    return NULL;
}

static void values_read(struct values *values, const char *profile)
{
    *values = (struct values){.id = values_get(values, profile, "aws_access_key_id")};
    values->secret = values_get(values, profile, "aws_secret_access_key");
    values->token = values_get(values, profile, "aws_session_token");
    values->role_arn = values_get(values, profile, "role_arn");
    values->source_profile = values_get(values, profile, "source_profile");
    values->credential_source = values_get(values, profile, "credential_source");
    values->external_id = values_get(values, profile, "external_id");
    values->session = values_get(values, profile, "role_session_name");
    values->foreign = find_foreign(values, profile);
    char *region = values_get(values, profile, "region");
    values->is_there = region != NULL;
    free(region);
}

static int32_t is_named(void)
{
    return cvm_aws_either("AWS_PROFILE", "AWS_DEFAULT_PROFILE") != NULL;
}

static void profile_keys(struct aws_search *search, const struct values *values)
{
    char text[200];
    if (*values->why) {
        cvm_aws_search_fail(search, WHAT, values->why);
    } else if (values->id && values->secret) {
        cvm_aws_search_found(search, values->id, values->secret, values->token, 0);
    } else if (values->id || values->secret) {
        cvm_aws_search_fail(search, WHAT, "an access key without its other half");
    } else if (values->foreign) {
        (void)snprintf(text, sizeof text,
            "%s is not followed here; `aws configure export-credentials --format env` gives keys "
            "that are",
            values->foreign);
        cvm_aws_search_fail(search, WHAT, text);
    } else if (is_named() && !values->is_there) {
        (void)snprintf(text, sizeof text, "'%.100s' is in no file", cvm_aws_profile_name());
        cvm_aws_search_fail(search, WHAT, text);
    } else {
        cvm_aws_search_pass(search);
    }
}

/* --- A role ----------------------------------------------------------------------------------- */

static void source_profile(struct aws_search *search, const char *profile)
{
    struct values values = {.id = NULL};
    values_read(&values, profile);
    if (!*values.why && !values.id && !values.foreign)
        cvm_aws_search_fail(search, WHAT, "its source_profile has no keys of its own");
    else
        profile_keys(search, &values);
    values_clear(&values);
}

static void credential_source(struct aws_search *search, const char *source)
{
    static const struct {
        const char *name;
        void (*ask)(struct aws_search *search);
    } SOURCES[] = {{"Environment", cvm_aws_ask_environment},
        {"Ec2InstanceMetadata", cvm_aws_ask_instance}, {"EcsContainer", cvm_aws_ask_container}};
    for (size_t i = 0; i < sizeof SOURCES / sizeof *SOURCES; i++)
        if (strcmp(SOURCES[i].name, source) == 0) {
            SOURCES[i].ask(search);
            return;
        }
    cvm_aws_search_fail(search, WHAT,
        "its credential_source is none of Environment, Ec2InstanceMetadata and EcsContainer");
}

/* 0, or -1 without memory. */
static int32_t take_role(struct aws_search *search, const struct values *values)
{
    struct aws_role *role = &search->role;
    role->arn = strdup(values->role_arn);
    role->session = strdup(values->session ? values->session : "libcvm");
    role->external_id = values->external_id ? strdup(values->external_id) : NULL;
    return role->arn && role->session && (role->external_id || !values->external_id) ? 0 : -1;
}

static void profile_role(struct aws_search *search, const struct values *values)
{
    if (take_role(search, values))
        cvm_aws_search_fail(search, WHAT, "out of memory");
    else if (values->source_profile)
        source_profile(search, values->source_profile);
    else if (values->credential_source)
        credential_source(search, values->credential_source);
    else
        cvm_aws_search_fail(
            search, WHAT, "role_arn without source_profile and without credential_source");
}

void cvm_aws_ask_profile(struct aws_search *search)
{
    struct values values = {.id = NULL};
    values_read(&values, cvm_aws_profile_name());
    if (values.role_arn && !*values.why && !values.foreign)
        profile_role(search, &values);
    else
        profile_keys(search, &values);
    values_clear(&values);
}
