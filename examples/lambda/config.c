#include "config.h"

#include <stdio.h>
#include <stdlib.h>

/* What a Lambda is, unless a variable says something else. */
static const struct {
    const char *name, *value;
} DEFAULTS[] = {
    {"platform", "aws-iot"}, {"log.format", "json"}, {"http.listen", "off"}, {"ops.listen", "off"}};

static const struct {
    const char *variable, *property, *before; /* the value's beginning */
} REFERENCE[] = {{"device_dynamodb_table", "store", "dynamodb:"}, {"region", "aws.region", ""},
    {"iot_root_ca_url", "aws.iot_root_ca_url", ""}, {"thing_name_format", "thing.name_format", ""},
    {"iot_policy_name", "policy.name", ""},
    /* The firmware that asks it expects RSA. */
    {"device_dynamodb_table", "server_key.type", NULL}};

static cvm_error_t *take_reference(cvm_conf_t *conf)
{
    cvm_error_t *error = NULL;
    for (size_t i = 0; i < sizeof REFERENCE / sizeof *REFERENCE && !error; i++) {
        const char *text = getenv(REFERENCE[i].variable);
        char value[600];
        if (!text || !*text)
            continue;
        if (REFERENCE[i].before)
            (void)snprintf(value, sizeof value, "%s%s", REFERENCE[i].before, text);
        else
            (void)snprintf(value, sizeof value, "rsa2048");
        error = cvm_conf_set(conf, REFERENCE[i].property, value);
    }
    return error;
}

static void warn(void *user_data, const char *text)
{
    (void)user_data;
    (void)fprintf(stderr, "{\"level\":\"warning\",\"text\":\"%s\"}\n", text);
}

cvm_error_t *config_read(cvm_conf_t *conf)
{
    cvm_error_t *error = NULL;
    for (size_t i = 0; i < sizeof DEFAULTS / sizeof *DEFAULTS && !error; i++)
        error = cvm_conf_set(conf, DEFAULTS[i].name, DEFAULTS[i].value);
    if (!error)
        error = take_reference(conf);
    return error ? error : cvm_conf_load_environment(conf, warn, NULL);
}
