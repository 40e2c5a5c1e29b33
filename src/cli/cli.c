/* What the verbs share. Errors name the thing and say what to do; a secret never stands on a
 * command line. */
#include "cli.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_SECRET 65536

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
            if (!option)
                return cli_fail(EX_USAGE, "there is no option %s here; try --help", argument);
            int used = take_option(option, argument, argv[i + 1]);
            if (used < 0)
                return EX_USAGE;
            i += used;
        }
    }
    if (operands->count >= least && operands->count <= most)
        return 0;
    (void)fputs(usage, stderr);
    return EX_USAGE;
}

/* --- Errors ----------------------------------------------------------------------------------- */

int32_t cli_fail(int32_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("cvm: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    return code;
}

int32_t cli_code_of(const cvm_error_t *error)
{
    switch (cvm_error_code(error)) {
    case CVM_CODE_OK:
        return 0;
    case CVM_CODE_INVALID:
    case CVM_CODE_NOT_FOUND:
        return EX_DATAERR;
    case CVM_CODE_DENIED:
    case CVM_CODE_CONFLICT:
        return EX_NOPERM;
    case CVM_CODE_BUSY:
    case CVM_CODE_UNKNOWN:
        return EX_TEMPFAIL;
    case CVM_CODE_UNAVAILABLE:
        return EX_UNAVAILABLE;
    case CVM_CODE_CONFIGURATION:
        return EX_CONFIG;
    default:
        return EX_SOFTWARE;
    }
}

static int32_t report(const char *subject, const cvm_error_t *error)
{
    if (!error)
        return 0;
    const char *text = cvm_error_text(error);
    if (subject && !strstr(text, subject))
        (void)cli_fail(0, "%s: %s", subject, text);
    else
        (void)cli_fail(0, "%s", text);
    return cli_code_of(error);
}

int32_t cli_error(const char *subject, cvm_error_t *error)
{
    int32_t code = report(subject, error);
    cvm_error_free(error);
    return code;
}

void cli_done(void *user_data, const cvm_error_t *error)
{
    struct cli_outcome *outcome = user_data;
    outcome->code = report(outcome->subject, error);
    outcome->is_done = 1;
}

/* --- Configuration and instance --------------------------------------------------------------- */

static void warn(void *user_data, const char *text)
{
    (void)user_data;
    (void)cli_fail(0, "%s", text);
}

static cvm_error_t *apply(cvm_conf_t *conf, const char *setting)
{
    char name[128];
    const char *equals = strchr(setting, '=');
    size_t length = equals ? (size_t)(equals - setting) : sizeof name;
    if (length >= sizeof name) {
        (void)cli_fail(0, "--set takes name=value, not '%s'", setting);
        return cvm_conf_set(conf, setting, ""); /* says that there is no such property */
    }
    memcpy(name, setting, length);
    name[length] = 0;
    return cvm_conf_set(conf, name, equals + 1);
}

int32_t cli_configure(const char *path, const struct cli_list *settings, cvm_conf_t **result)
{
    cvm_conf_t *conf = cvm_conf_new();
    if (!path) {
        cvm_conf_free(conf);
        return cli_fail(EX_USAGE, "which instance? Name its configuration: -c FILE");
    }
    cvm_error_t *error = conf ? cvm_conf_load(conf, path) : NULL;
    if (conf && !error)
        error = cvm_conf_load_environment(conf, warn, NULL);
    for (uint32_t i = 0; conf && !error && settings && i < settings->count; i++)
        error = apply(conf, settings->values[i]);
    if (!conf || error) {
        cvm_conf_free(conf);
        return error ? cli_error(NULL, error) : cli_fail(EX_OSERR, "out of memory");
    }
    *result = conf;
    return 0;
}

/* A command says on standard error what failed; the log is the server's. */
static cvm_error_t *quiet_log(cvm_conf_t *conf)
{
    cvm_error_t *error = cvm_conf_set(conf, "log.file", "");
    return error ? error : cvm_conf_set(conf, "log.level", "error");
}

static int32_t open_as(cvm_error_t *(*start)(cvm_t *cvm, cvm_done_cb callback, void *user_data),
    const char *config, const struct cli_list *settings, cvm_t **cvm)
{
    cvm_conf_t *conf = NULL;
    struct cli_outcome outcome = {0};
    int32_t code = cli_configure(config, settings, &conf);
    if (code)
        return code;
    cvm_error_t *error = quiet_log(conf);
    if (!error)
        error = cvm_new(conf, cvm);
    cvm_conf_free(conf);
    if (error)
        return cli_error(NULL, error);
    error = start(*cvm, cli_done, &outcome);
    if (error)
        outcome.code = cli_error(NULL, error);
    else
        cli_run_until(*cvm, &outcome.is_done);
    if (outcome.code) {
        cvm_free(*cvm);
        *cvm = NULL;
    }
    return outcome.code;
}

int32_t cli_open(const char *config, const struct cli_list *settings, cvm_t **cvm)
{
    return open_as(cvm_start_command, config, settings, cvm);
}

int32_t cli_open_new(const char *config, cvm_t **cvm)
{
    return open_as(cvm_start, config, NULL, cvm);
}

void cli_run_until(cvm_t *cvm, const int32_t *is_done)
{
    while (!*is_done) {
        struct pollfd ready = {cvm_fd(cvm), POLLIN, 0};
        (void)poll(&ready, 1, cvm_timeout_ms(cvm));
        cvm_process(cvm);
    }
}

void cli_close(cvm_t *cvm)
{
    cvm_free(cvm);
}

/* --- Secrets ---------------------------------------------------------------------------------- */

int32_t cli_read_secret(const char *path, char **secret, size_t *length)
{
    FILE *file = fopen(path, "re");
    char *bytes = malloc(LARGEST_SECRET + 1);
    if (!file || !bytes) {
        int failure = file ? ENOMEM : errno;
        free(bytes);
        if (file)
            (void)fclose(file);
        return cli_fail(EX_NOINPUT, "%s: %s", path, strerror(failure));
    }
    (void)setvbuf(file, NULL, _IONBF, 0); /* no copy of it in stdio's buffer */
    *length = fread(bytes, 1, LARGEST_SECRET + 1, file);
    int failed = ferror(file) || *length > LARGEST_SECRET;
    (void)fclose(file);
    if (*length && bytes[*length - 1] == '\n')
        (*length)--;
    *secret = bytes;
    if (!failed && *length)
        return 0;
    cli_forget(bytes, LARGEST_SECRET + 1);
    *secret = NULL;
    return cli_fail(EX_DATAERR, "%s: %s", path, failed ? "too large for a secret" : "is empty");
}

void cli_forget(char *secret, size_t length)
{
    if (secret)
        explicit_bzero(secret, length);
    free(secret);
}
