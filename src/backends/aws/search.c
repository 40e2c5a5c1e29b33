/* The places, a small function each: it finds keys, passes (nothing is set up there), or fails
 * (something is, and does not work: then no other place is asked, since the keys would be somebody
 * else's). */
#include "search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "base/endpoint.h"
#include "base/files.h"
#include "base/json.h"
#include "base/secret.h"
#include "place.h"
#include "profile.h"

#define TIMEOUT_MS          3000
#define METADATA_TIMEOUT_MS 1000 /* where there is none, nobody answers */
#define METADATA_URL        "http://169.254.169.254"
#define CONTAINER_URL       "http://169.254.170.2"
#define LONGEST_URL         512
#define LONGEST_TOKEN       16384

struct aws_provider {
    void (*ask)(struct aws_search *search);
};

static void search_go_on(struct aws_search *search);

/* --- What a place says ------------------------------------------------------------------------ */

static void search_found(struct aws_search *search, const char *id, const char *secret,
    const char *token, int64_t expires_ms)
{
    struct aws_keys keys = {NULL, NULL, NULL, 0};
    if (cvm_aws_keys_set(&keys, id, secret, token)) {
        search->ended(search, NULL, "out of memory");
        return;
    }
    keys.expires_ms = expires_ms;
    search->ended(search, &keys, NULL);
}

static void search_pass(struct aws_search *search)
{
    search->provider++;
    search_go_on(search);
}

static void search_fail(struct aws_search *search, const char *what, const char *why)
{
    char text[240];
    (void)snprintf(text, sizeof text, "%s: %s", what, why);
    search->ended(search, NULL, text);
}

/* --- Environment ------------------------------------------------------------------------------ */

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static void ask_environment(struct aws_search *search)
{
    const char *id = variable("AWS_ACCESS_KEY_ID"), *secret = variable("AWS_SECRET_ACCESS_KEY");
    if (id && secret)
        search_found(search, id, secret, variable("AWS_SESSION_TOKEN"), 0);
    else if (id || secret)
        search_fail(
            search, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "one of them is missing");
    else
        search_pass(search);
}

/* --- Shared files ----------------------------------------------------------------------------- */

/* What a profile may have that is not for us. NULL if it has none of it. */
static const char *profile_foreign(const char *profile)
{
    static const char *const NAMES[] = {"credential_process", "sso_session", "sso_start_url",
        "role_arn", "web_identity_token_file"};
    char why[8];
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        char *value = cvm_aws_profile_get(profile, NAMES[i], why, sizeof why);
        cvm_secret_free_text(value);
        if (value)
            return NAMES[i];
    }
    return NULL;
}

static void profile_take(struct aws_search *search, const char *profile, char *const values[3])
{
    char text[200];
    const char *foreign = values[0] ? NULL : profile_foreign(profile);
    if (values[0] && values[1]) {
        search_found(search, values[0], values[1], values[2], 0);
    } else if (values[0] || values[1]) {
        search_fail(search, "the AWS profile", "an access key without its other half");
    } else if (foreign) {
        (void)snprintf(text, sizeof text,
            "%s is not followed here; `aws configure export-credentials --format env` gives keys "
            "that "
            "are",
            foreign);
        search_fail(search, "the AWS profile", text);
    } else {
        search_pass(search);
    }
}

static void ask_profile(struct aws_search *search)
{
    static const char *const NAMES[] = {
        "aws_access_key_id", "aws_secret_access_key", "aws_session_token"};
    const char *profile = cvm_aws_profile_name();
    char *values[3] = {NULL, NULL, NULL}, why[200] = "";
    for (size_t i = 0; i < 3 && !*why; i++)
        values[i] = cvm_aws_profile_get(profile, NAMES[i], why, sizeof why);
    if (*why)
        search_fail(search, "the AWS profile", why);
    else
        profile_take(search, profile, values);
    for (size_t i = 0; i < 3; i++)
        cvm_secret_free_text(values[i]);
}

/* --- Over HTTP -------------------------------------------------------------------------------- */

/* Milliseconds since 1970 of RFC 3339's "2026-01-31T12:00:00Z"; 0 if it is none. */
static int64_t time_of(const char *text)
{
    struct tm utc;
    memset(&utc, 0, sizeof utc);
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d", &utc.tm_year, &utc.tm_mon,
            &utc.tm_mday, /* NOLINT */
            &utc.tm_hour, &utc.tm_min, &utc.tm_sec) != 6)
        return 0;
    utc.tm_year -= 1900;
    utc.tm_mon -= 1;
    return cvm_utc_ms(&utc);
}

static const char *member(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

/* What container and instance answer: one and the same object. */
static void search_take_answer(
    struct aws_search *search, const char *what, const struct aws_http_response *response)
{
    const char *why = NULL;
    cJSON *object = response->failure || response->status != 200
                        ? NULL
                        : cvm_json_object(response->body, response->length, &why);
    const char *id = member(object, "AccessKeyId"), *secret = member(object, "SecretAccessKey"),
               *token = member(object, "Token");
    int64_t expires_ms = time_of(member(object, "Expiration"));
    char text[100];
    (void)snprintf(text, sizeof text, "it answers HTTP %d", response->status);
    if (*id && *secret && expires_ms)
        search_found(search, id, secret, token, expires_ms);
    else if (response->failure)
        search_fail(search, what, response->failure);
    else
        search_fail(search, what, response->status == 200 ? "it answers no keys" : text);
    cvm_json_wipe(object);
}

static void search_send(struct aws_search *search, const char *method, const char *url,
    const char *header, int64_t timeout_ms, aws_http_done done)
{
    const struct aws_http_request request = {.method = method,
        .url = url,
        .headers = &header,
        .header_count = header ? 1 : 0,
        .body = *method == 'P' ? "" : NULL,
        .timeout_ms = timeout_ms,
        .is_plain = 1};
    search->exchange = cvm_aws_http_send(search->http, &request, done, search);
    if (!search->exchange)
        search_fail(search, url, "out of memory");
}

/* --- Container (ECS, EKS Pod Identity) -------------------------------------------------------- */

static void container_answered(void *argument, const struct aws_http_response *response)
{
    struct aws_search *search = argument;
    search->exchange = NULL;
    search_take_answer(search, "the container's credentials endpoint", response);
}

/* Plain HTTP only to where nobody listens in: the container's own host. */
static int32_t container_url_is_fine(const char *url)
{
    static const char *const HOSTS[] = {
        "localhost", "::1", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"};
    struct cvm_endpoint endpoint;
    char authority[LONGEST_URL];
    if (strncmp(url, "https://", 8) == 0)
        return 1;
    if (strncmp(url, "http://", 7) != 0)
        return 0;
    (void)snprintf(authority, sizeof authority, "%.*s", (int)strcspn(url + 7, "/?#"), url + 7);
    if (cvm_endpoint_parse(authority, 80, &endpoint))
        return 0;
    for (size_t i = 0; i < sizeof HOSTS / sizeof *HOSTS; i++)
        if (strcmp(endpoint.host, HOSTS[i]) == 0)
            return 1;
    return cvm_is_address(endpoint.host) && strncmp(endpoint.host, "127.", 4) == 0;
}

/* The token that the container shows, from its file or the environment, as a header line. 0, or -1.
 */
static int32_t container_header(char header[LONGEST_TOKEN], char *why, size_t why_size)
{
    const char *path = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
               *token = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    size_t length = 0;
    char *text = NULL;
    if (path) {
        text = cvm_files_read_most(path, LONGEST_TOKEN, &length, why, why_size);
        if (!text)
            return -1;
        text[strcspn(text, "\r\n")] = 0;
        token = text;
    }
    *header = 0;
    if (token && !strpbrk(token, "\r\n"))
        (void)snprintf(header, LONGEST_TOKEN, "Authorization: %s", token);
    cvm_secret_free(text, length);
    return 0;
}

static void ask_container(struct aws_search *search)
{
    const char *relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
               *full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    char url[LONGEST_URL], header[LONGEST_TOKEN], why[200];
    if (!relative && !full) {
        search_pass(search);
        return;
    }
    (void)snprintf(
        url, sizeof url, "%s%s", relative ? CONTAINER_URL : "", relative ? relative : full);
    if (!container_url_is_fine(url))
        search_fail(search, "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "expected https:, or a host of the container's own");
    else if (container_header(header, why, sizeof why))
        search_fail(search, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", why);
    else
        search_send(search, "GET", url, *header ? header : NULL, TIMEOUT_MS, container_answered);
    OPENSSL_cleanse(header, sizeof header);
}

/* --- Instance metadata, version 2 ------------------------------------------------------------- */

static void metadata_send(struct aws_search *search, const char *path, aws_http_done done)
{
    const char *base = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    char url[LONGEST_URL], header[160];
    int32_t has_token = *search->imds_token != 0;
    (void)snprintf(url, sizeof url, "%.200s%s", base ? base : METADATA_URL, path);
    (void)snprintf(header, sizeof header, "X-aws-ec2-metadata-token%s",
        has_token ? ": " : "-ttl-seconds: 21600");
    if (has_token)
        (void)snprintf(
            header + strlen(header), sizeof header - strlen(header), "%s", search->imds_token);
    search_send(search, has_token ? "GET" : "PUT", url, header, METADATA_TIMEOUT_MS, done);
}

#define METADATA_PATH "/latest/meta-data/iam/security-credentials/"

static void metadata_told_keys(void *argument, const struct aws_http_response *response)
{
    struct aws_search *search = argument;
    search->exchange = NULL;
    search_take_answer(search, "the instance's metadata", response);
}

static void metadata_told_role(void *argument, const struct aws_http_response *response)
{
    struct aws_search *search = argument;
    char path[256];
    search->exchange = NULL;
    size_t length = strcspn(response->body, "\r\n");
    if (response->failure || response->status != 200 || !length || length > 128 ||
        memchr(response->body, '/', length)) {
        search_fail(search, "the instance's metadata", "the instance has no role");
        return;
    }
    (void)snprintf(path, sizeof path, METADATA_PATH "%.*s", (int)length, response->body);
    metadata_send(search, path, metadata_told_keys);
}

/* Where nobody answers there is no metadata service, or it is a hop too far from a container. */
static void metadata_told_token(void *argument, const struct aws_http_response *response)
{
    struct aws_search *search = argument;
    search->exchange = NULL;
    if (response->failure || response->status != 200 || !response->length ||
        response->length >= sizeof search->imds_token ||
        strcspn(response->body, "\r\n") != response->length) {
        search_pass(search);
        return;
    }
    (void)snprintf(search->imds_token, sizeof search->imds_token, "%s", response->body);
    metadata_send(search, METADATA_PATH, metadata_told_role);
}

static void ask_instance(struct aws_search *search)
{
    *search->imds_token = 0;
    if (cvm_aws_is_on("AWS_EC2_METADATA_DISABLED"))
        search_pass(search);
    else
        metadata_send(search, "/latest/api/token", metadata_told_token);
}

/* --- The way through them --------------------------------------------------------------------- */

static const struct aws_provider PROVIDERS[] = {
    {ask_environment},
    {ask_profile},
    {ask_container},
    {ask_instance},
    {NULL},
};

static void search_go_on(struct aws_search *search)
{
    if (search->provider->ask)
        search->provider->ask(search);
    else
        search->ended(search, NULL,
            "there are no AWS credentials: neither in the environment (AWS_ACCESS_KEY_ID) nor in a "
            "profile, nor has the container or the instance a role");
}

void cvm_aws_search_begin(struct aws_search *search)
{
    search->provider = PROVIDERS;
    search_go_on(search);
}

void cvm_aws_search_cancel(struct aws_search *search)
{
    if (search->exchange)
        cvm_aws_http_cancel(search->exchange);
    search->exchange = NULL;
    OPENSSL_cleanse(search->imds_token, sizeof search->imds_token);
}
