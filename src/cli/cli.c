/* What the verbs share. Errors name the thing and say what to do; a secret never stands on a
 * command line. */
#include "cli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cjson/cJSON.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/secret.h"
#include "file/file.h"

#define PATIENCE_MS 3000

/* --- Arguments -------------------------------------------------------------------------------- */

static const struct cli_option *find(const struct cli_option *options, const char *argument)
{
    size_t length = strcspn(argument, "=");
    if (strcmp(argument, "-c") == 0)
        return find(options, "--config");
    for (; options->name; options++)
        if (strlen(options->name) == length && memcmp(options->name, argument, length) == 0)
            return options;
    return NULL;
}

static int32_t add(struct cli_list *list, const char *value)
{
    if (list->count == CLI_MOST_LISTED)
        return cli_fail(EX_USAGE, "too many: '%s'", value);
    list->values[list->count++] = value;
    return 0;
}

/* Takes an option and its value. Returns how many more arguments it used, or -1 after saying why.
 */
static int take_option(const struct cli_option *option, const char *argument, const char *next)
{
    const char *equals = strncmp(argument, "--", 2) == 0 ? strchr(argument, '=') : NULL;
    if (!option->takes_value) {
        *option->flag = 1;
        return equals ? (void)cli_fail(EX_USAGE, "%s takes no value", option->name), -1 : 0;
    }
    const char *value = equals ? equals + 1 : next;
    if (!value)
        return (void)cli_fail(EX_USAGE, "%s needs a value", option->name), -1;
    if (option->list ? add(option->list, value) : 0)
        return -1;
    if (option->value)
        *option->value = value;
    return equals ? 0 : 1;
}

int32_t cli_parse(int argc, char **argv, const struct cli_option *options, const char *usage,
    uint32_t least, uint32_t most, struct cli_list *operands)
{
    int32_t only_operands = 0;
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        if (!only_operands && (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)) {
            (void)fputs(usage, stdout);
            return -1;
        }
        if (!only_operands && strcmp(argument, "--") == 0) {
            only_operands = 1;
        } else if (only_operands || argument[0] != '-' || !argument[1]) {
            if (add(operands, argument))
                return EX_USAGE;
        } else {
            const struct cli_option *option = find(options, argument);
            if (!option) /* a value behind "=" may be a secret */
                return cli_fail(EX_USAGE, "%s takes no option %.*s", argv[0],
                    (int)strcspn(argument, "="), argument);
            int used = take_option(option, argument, argv[i + 1]);
            if (used < 0)
                return EX_USAGE;
            i += used;
        }
    }
    if (operands->count >= least && operands->count <= most)
        return 0;
    if (operands->count > most)
        return cli_fail(EX_USAGE, "%s: '%s' is one too many", argv[0], operands->values[most]);
    return cli_fail(EX_USAGE, "%s: an argument is missing", argv[0]);
}

int32_t cli_no_verb(const char *group, const char *name, const char *usage)
{
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        (void)fputs(usage, stdout);
        return 0;
    }
    if (!*name || *name == '-')
        return cli_fail(EX_USAGE, "cvm %s: which verb?", group);
    return cli_fail(EX_USAGE, "there is no `cvm %s %.40s`", group, name);
}

/* --- Configuration and instance --------------------------------------------------------------- */

static void warn(void *user_data, const char *text)
{
    (void)user_data;
    (void)cli_fail(0, "%s", text);
}

static int32_t apply(cvm_conf_t *conf, const char *setting)
{
    char name[128];
    const char *equals = strchr(setting, '=');
    size_t length = equals ? (size_t)(equals - setting) : 0;
    if (!length || length >= sizeof name)
        return cli_fail(EX_USAGE, "--set takes name=value, not '%s'", setting);
    memcpy(name, setting, length);
    name[length] = 0;
    return cli_error("--set", cvm_conf_set(conf, name, equals + 1));
}

int32_t cli_configure(const char *path, const struct cli_list *settings, cvm_conf_t **result)
{
    cvm_conf_t *conf = cvm_conf_new();
    if (!path) {
        cvm_conf_free(conf);
        return cli_fail(EX_USAGE, "which instance? Name its configuration: -c FILE");
    }
    if (!conf)
        return cli_fail(EX_OSERR, "out of memory");
    int32_t code = cli_error(NULL, cvm_conf_load(conf, path));
    if (!code)
        code = cli_error(NULL, cvm_conf_load_environment(conf, warn, NULL));
    for (uint32_t i = 0; !code && settings && i < settings->count; i++)
        code = apply(conf, settings->values[i]);
    if (code)
        cvm_conf_free(conf);
    else
        *result = conf;
    return code;
}

const char *cli_ca_folder(const cvm_conf_t *conf)
{
    const char *platform = cvm_conf_get(conf, "platform");
    if (strncmp(platform, "local:", 6) != 0)
        return NULL;
    return platform[6] ? platform + 6 : "ca";
}

const char *cli_file_store(const cvm_conf_t *conf)
{
    const char *store = cvm_conf_get(conf, "store");
    if (strncmp(store, "file:", 5) == 0)
        return store + 5;
    (void)cli_fail(EX_CONFIG, "this is for a file store; the configuration's is %.*s",
        (int)strcspn(store, ":"), store); /* the rest may hold a password */
    return NULL;
}

int32_t cli_is_shared(const cvm_conf_t *conf)
{
    return strncmp(cvm_conf_get(conf, "store"), "file:", 5) != 0;
}

enum cli_store cli_look_for_store(const cvm_conf_t *conf)
{
    struct stat status;
    const char *store = cvm_conf_get(conf, "store");
    if (cli_is_shared(conf))
        return CLI_STORE_THERE; /* its backend will say */
    if (stat(store + 5, &status) == 0) {
        if (S_ISREG(status.st_mode))
            return CLI_STORE_THERE;
        (void)cli_fail(0, "store: %s: unable to open: it is not a file", store + 5);
        return CLI_STORE_WRONG;
    }
    if (errno == ENOENT)
        return CLI_STORE_MISSING;
    (void)cli_fail(0, "store: %s: %s", store + 5, strerror(errno));
    return CLI_STORE_WRONG;
}

int32_t cli_fail_missing_store(const cvm_conf_t *conf)
{
    const char *store = cvm_conf_get(conf, "store") + strlen("file:");
    if (cvm_file_has_parts(store))
        return cli_fail(EX_TEMPFAIL,
            "store: %s: is missing, but parts of it are there: if `cvm restore` was cut short, run "
            "it again",
            store);
    return cli_fail(EX_CONFIG,
        "store: %s: %s; is it the right path? `cvm serve --create-store` makes an empty one", store,
        strerror(ENOENT));
}

/* A command says on standard error what failed; the log is the server's. */
static cvm_error_t *quiet_log(cvm_conf_t *conf)
{
    cvm_error_t *error = cvm_conf_set(conf, "log.file", "");
    return error ? error : cvm_conf_set(conf, "log.level", "error");
}

/* Where the store can't be changed there is nothing for the audit, and it may lie there too. */
static cvm_error_t *leave_audit(cvm_conf_t *conf)
{
    const char *store = cvm_conf_get(conf, "store");
    return strncmp(store, "file:", 5) == 0 && cvm_files_is_read_only(store + 5)
               ? cvm_conf_set(conf, "audit.file", "")
               : NULL;
}

int32_t cli_make(cvm_conf_t *conf, cvm_t **cvm)
{
    cvm_error_t *error = quiet_log(conf);
    if (!error)
        error = leave_audit(conf);
    if (!error)
        error = cvm_new(conf, cvm);
    if (!error)
        error = cli_set_actor(*cvm);
    return cli_error(NULL, error);
}

int32_t cli_open_as(cvm_error_t *(*start)(cvm_t *cvm, cvm_done_cb callback, void *user_data),
    cvm_conf_t *conf, cvm_t **cvm)
{
    struct cli_outcome outcome = {.code = cli_make(conf, cvm)};
    cvm_error_t *error = NULL;
    if (!outcome.code)
        error = start(*cvm, cli_done, &outcome);
    if (error)
        outcome.code = cli_error(NULL, error);
    else if (!outcome.code)
        cli_run_until(*cvm, &outcome.is_done);
    if (outcome.code) {
        cvm_free(*cvm);
        *cvm = NULL;
    }
    return outcome.code;
}

/* Before anything is opened: that makes the files of logs. */
int32_t cli_open(cvm_conf_t *conf, cvm_t **cvm)
{
    switch (cli_look_for_store(conf)) {
    case CLI_STORE_THERE:
        return cli_open_as(cvm_start_command, conf, cvm);
    case CLI_STORE_MISSING:
        return cli_fail_missing_store(conf);
    default:
        return EX_CONFIG;
    }
}

int32_t cli_open_new(cvm_conf_t *conf, cvm_t **cvm)
{
    int32_t code = cli_error(NULL, cvm_conf_set(conf, "store.create", "true"));
    return code ? code : cli_open_as(cvm_start, conf, cvm);
}

int64_t cli_now_ms(void)
{
    return (int64_t)cvm_monotonic_ms();
}

int cli_least_ms(int32_t timeout_ms, int64_t left_ms)
{
    return timeout_ms < 0 || timeout_ms > left_ms ? (int)left_ms : timeout_ms;
}

int32_t cli_run_for(cvm_t *cvm, const int32_t *is_done, int64_t ms)
{
    const int64_t end_ms = cli_now_ms() + ms;
    for (int64_t left_ms = ms; !*is_done && left_ms > 0; left_ms = end_ms - cli_now_ms()) {
        struct pollfd ready = {cvm_fd(cvm), POLLIN, 0};
        (void)poll(&ready, 1, cli_least_ms(cvm_timeout_ms(cvm), left_ms));
        cvm_error_free(cvm_process(cvm));
    }
    return *is_done;
}

void cli_run_until(cvm_t *cvm, const int32_t *is_done)
{
    if (cli_run_for(cvm, is_done, PATIENCE_MS))
        return;
    (void)cli_fail(0, "still waiting: another program may be at work on the store or the CRL");
    while (!cli_run_for(cvm, is_done, PATIENCE_MS))
        ;
}

void cli_close(cvm_t *cvm)
{
    cvm_free(cvm);
}

/* --- JSON ------------------------------------------------------------------------------------- */

int32_t cli_print_json(struct cJSON *object)
{
    char *text = object ? cJSON_PrintUnformatted(object) : NULL;
    if (text)
        (void)puts(text);
    cvm_secret_free_text(text); /* it may hold a token; cJSON's allocator is malloc */
    cJSON_Delete(object);
    return text ? 0 : cli_fail(EX_OSERR, "out of memory");
}

int32_t cli_json_text(struct cJSON *object, const char *name, const char *text)
{
    cJSON *item = text ? cJSON_CreateStringReference(text) : cJSON_CreateNull();
    return cJSON_AddItemToObject(object, name, item) ? 0 : -1;
}
