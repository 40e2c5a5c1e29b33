/* Region and endpoints. Each rule overrides those before it: the partition's usual endpoint, FIPS
 * and dual stack, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_SERVICE, and above all our own properties. */
#include "place.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "environment.h"
#include "profile.h"

static const struct partition {
    const char *prefix; /* of its regions */
    const char *suffix, *dual_stack_suffix;
} PARTITIONS[] = {
    {"cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
    {"us-isob-", "sc2s.sgov.gov", "api.aws.scloud"}, {"us-iso-", "c2s.ic.gov", "api.aws.ic.gov"},
    {"eusc-", "amazonaws.eu", "api.amazonwebservices.eu"},
    {"", "amazonaws.com", "api.aws"}, /* us-gov-, too */
};

/* Letters, digits and "-": it becomes part of a host's name. */
static int32_t is_region(const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return length && !text[length] && length < AWS_REGION_SIZE;
}

static int32_t find_region(const cvm_host_t *host, cvm_context_t *context, struct aws_place *place,
    char *error, size_t error_size)
{
    char why[200] = "", *named = NULL;
    const char *region = host->property(context, "aws.region");
    if (!region || !*region)
        region = cvm_aws_either("AWS_REGION", "AWS_DEFAULT_REGION");
    if (!region)
        region = named = cvm_aws_profile_get(cvm_aws_profile_name(), "region", why, sizeof why);
    int32_t failed = !region || !is_region(region);
    if (!failed)
        (void)snprintf(place->region, sizeof place->region, "%s", region);
    else if (region)
        (void)snprintf(error, error_size, "aws.region: '%.40s' is no region", region);
    else
        (void)snprintf(error, error_size,
            "no AWS region: set aws.region, AWS_REGION, or region in the profile%s%.150s",
            *why ? ": " : "", why);
    cvm_secret_free_text(named);
    return failed ? -1 : 0;
}

/* In us-gov DynamoDB's usual endpoint is the validated one. */
static int32_t has_fips_name(const char *service, const struct aws_place *place)
{
    return cvm_aws_is_on("AWS_USE_FIPS_ENDPOINT") &&
           !(strncmp(place->region, "us-gov-", 7) == 0 && strcmp(service, "dynamodb") == 0);
}

static void usual_url(const char *service, struct aws_place *place)
{
    const struct partition *partition = PARTITIONS;
    while (strncmp(place->region, partition->prefix, strlen(partition->prefix)) != 0)
        partition++;
    (void)snprintf(place->url, sizeof place->url, "https://%s%s.%s.%s", service,
        has_fips_name(service, place) ? "-fips" : "", place->region,
        cvm_aws_is_on("AWS_USE_DUALSTACK_ENDPOINT") ? partition->dual_stack_suffix
                                                    : partition->suffix);
}

/* What somebody has set; NULL if nobody has. */
static const char *set_url(const cvm_host_t *host, cvm_context_t *context, const char *service)
{
    char property[40], variable[40];
    (void)snprintf(property, sizeof property, "aws.endpoint_%s", service);
    (void)snprintf(variable, sizeof variable, "AWS_ENDPOINT_URL_%s", service);
    for (char *letter = variable; *letter; letter++)
        *letter = (char)toupper((unsigned char)*letter);
    const char *own = host->property(context, property);
    return own && *own ? own : cvm_aws_either(variable, "AWS_ENDPOINT_URL");
}

/* http(s)://HOST[:PORT], with one slash behind it at most. 0, or -1. */
static int32_t take_url(struct aws_place *place, const char *url)
{
    int32_t is_plain = strncmp(url, "http://", 7) == 0;
    const char *name = url + (is_plain ? 7 : 8);
    if (!is_plain && strncmp(url, "https://", 8) != 0)
        return -1;
    size_t length = strcspn(name, "/?#@ \t\"\\");
    if (!length || length + 9 > sizeof place->host ||
        (name[length] && strcmp(name + length, "/") != 0))
        return -1;
    place->is_plain = is_plain;
    (void)snprintf(place->host, sizeof place->host, "%.*s", (int)length, name);
    /* libcurl's header Host, which is signed, has no port that is the scheme's own. */
    char *port = strrchr(place->host, ':');
    if (port && strcmp(port, is_plain ? ":80" : ":443") == 0)
        *port = 0;
    (void)snprintf(place->url, sizeof place->url, "http%s://%s", is_plain ? "" : "s", place->host);
    return 0;
}

int32_t cvm_aws_place_find(const cvm_host_t *host, cvm_context_t *context, const char *service,
    struct aws_place *place, char *error, size_t error_size)
{
    *place = (struct aws_place){.is_plain = 0};
    if (find_region(host, context, place, error, error_size))
        return -1;
    const char *set = set_url(host, context, service);
    if (!set)
        usual_url(service, place);
    char usual[AWS_ENDPOINT_SIZE];
    (void)snprintf(usual, sizeof usual, "%s", place->url);
    if (!take_url(place, set ? set : usual))
        return 0;
    (void)snprintf(error, error_size,
        "the endpoint of %s: expected https://HOST or http://HOST:PORT, not '%.60s'", service,
        set ? set : usual);
    return -1;
}
