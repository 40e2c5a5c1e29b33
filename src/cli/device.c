/* `cvm device`: the operator's verbs. Import has files of its own, printing is in device_print.c.
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "device_print.h"

#define PAGE 500

static const char USAGE[] =
    "usage: cvm device import FILE -c CONFIG [...]      `cvm device import --help` says more\n"
    "       cvm device add UID --token-file F [--disabled] -c CONFIG\n"
    "       cvm device show UID [--json] [--pem] -c CONFIG\n"
    "       cvm device list [--json] -c CONFIG\n"
    "       cvm device enable|disable|reset UID -c CONFIG\n"
    "       cvm device revoke UID [--reason NAME] -c CONFIG\n"
    "       cvm device remove UID [--force] -c CONFIG\n"
    "\n"
    "enable   lets it register, and lifts the suspension of its certificates\n"
    "disable  no registration, certificates suspended until enable\n"
    "reset    allows one new registration; the old certificate retires when the new one is "
    "recorded\n"
    "revoke   revokes its certificates now and disables it; returns when the CRL that says so is "
    "on\n"
    "         disk. Sessions that are open already live on until the broker drops them.\n"
    "         NAME: RFC 5280's, such as keyCompromise. `enable` alone does not undo it: `reset` "
    "too\n"
    "remove   forgets it; a registered one needs --force, and its certificates are revoked\n"
    "All of them work beside a running server.\n";

struct arguments {
    const char *config, *token_file, *reason;
    int32_t json, pem, force, disabled;
    struct cli_list settings, operands;
};

struct query {
    int32_t is_done, code;
    const struct arguments *arguments;
    char cursor[512];
};

/* --- Reading ---------------------------------------------------------------------------------- */

static void got_device(void *user_data, const cvm_error_t *error, const cvm_device_t *device)
{
    struct query *query = user_data;
    const struct arguments *arguments = query->arguments;
    query->is_done = 1;
    if (error) {
        query->code = cli_code_of(error);
        (void)cli_fail(0, "%s: %s", arguments->operands.values[0], cvm_error_text(error));
    } else if (device_print(device, arguments->json, arguments->pem)) {
        query->code = cli_fail(EX_OSERR, "out of memory");
    }
}

static cvm_error_t *start_show(cvm_t *cvm, struct query *query)
{
    return cvm_device_get(cvm, query->arguments->operands.values[0], got_device, query);
}

static void got_page(void *user_data, const cvm_error_t *error, const cvm_device_t *const *devices,
    uint32_t count, const char *cursor)
{
    struct query *query = user_data;
    query->is_done = 1;
    if (error)
        query->code = cli_fail(cli_code_of(error), "%s", cvm_error_text(error));
    for (uint32_t i = 0; i < count && !query->code; i++)
        if (device_print_line(devices[i], query->arguments->json))
            query->code = cli_fail(EX_OSERR, "out of memory");
    (void)snprintf(query->cursor, sizeof query->cursor, "%s", cursor ? cursor : "");
}

static int32_t show(cvm_t *cvm, const struct arguments *arguments)
{
    struct query query = {.arguments = arguments};
    cvm_error_t *error = start_show(cvm, &query);
    if (error)
        return cli_error(arguments->operands.values[0], error);
    cli_run_until(cvm, &query.is_done);
    return query.code;
}

static int32_t list(cvm_t *cvm, const struct arguments *arguments)
{
    struct query query = {.arguments = arguments};
    do {
        query.is_done = 0;
        cvm_error_t *error = cvm_device_list(cvm, query.cursor, PAGE, got_page, &query);
        if (error)
            return cli_error(NULL, error);
        cli_run_until(cvm, &query.is_done);
    } while (!query.code && *query.cursor);
    return query.code;
}

/* --- Changing --------------------------------------------------------------------------------- */

/* Waits for a change that was started with outcome. */
static int32_t finish(cvm_t *cvm, struct cli_outcome *outcome, cvm_error_t *error)
{
    if (error)
        return cli_error(outcome->subject, error);
    cli_run_until(cvm, &outcome->is_done);
    return outcome->code;
}

static int32_t put(cvm_t *cvm, const struct arguments *arguments)
{
    char *token = NULL, text[512];
    size_t length = 0;
    struct cli_outcome outcome = {.subject = arguments->operands.values[0]};
    if (!arguments->token_file)
        return cli_fail(
            EX_USAGE, "give the device's token by --token-file (\"-\" is standard input)");
    const char *path =
        strcmp(arguments->token_file, "-") == 0 ? "/dev/stdin" : arguments->token_file;
    int32_t code = cli_read_secret(path, &token, &length);
    if (code)
        return code;
    if (length >= sizeof text || memchr(token, 0, length)) {
        cli_forget(token, length);
        return cli_fail(EX_DATAERR, "%s: is no token", path);
    }
    memcpy(text, token, length);
    text[length] = 0;
    cli_forget(token, length);
    cvm_error_t *error =
        cvm_device_put(cvm, outcome.subject, text, !arguments->disabled, cli_done, &outcome);
    explicit_bzero(text, sizeof text);
    return finish(cvm, &outcome, error);
}

static int32_t enable(cvm_t *cvm, const struct arguments *arguments)
{
    struct cli_outcome outcome = {.subject = arguments->operands.values[0]};
    return finish(cvm, &outcome, cvm_device_enable(cvm, outcome.subject, cli_done, &outcome));
}

static int32_t disable(cvm_t *cvm, const struct arguments *arguments)
{
    struct cli_outcome outcome = {.subject = arguments->operands.values[0]};
    return finish(cvm, &outcome, cvm_device_disable(cvm, outcome.subject, cli_done, &outcome));
}

static int32_t reset(cvm_t *cvm, const struct arguments *arguments)
{
    struct cli_outcome outcome = {.subject = arguments->operands.values[0]};
    return finish(cvm, &outcome, cvm_device_reset(cvm, outcome.subject, cli_done, &outcome));
}

static int32_t revoke(cvm_t *cvm, const struct arguments *arguments)
{
    struct cli_outcome outcome = {.subject = arguments->operands.values[0]};
    int32_t code = finish(cvm, &outcome,
        cvm_device_revoke(cvm, outcome.subject, arguments->reason, cli_done, &outcome));
    if (!code)
        (void)fprintf(stderr,
            "%s is revoked and disabled. A session that is open already lives on "
            "until the broker drops it.\n",
            outcome.subject);
    return code;
}

static int32_t remove_device(cvm_t *cvm, const struct arguments *arguments)
{
    struct cli_outcome outcome = {.subject = arguments->operands.values[0]};
    return finish(cvm, &outcome,
        cvm_device_remove(cvm, outcome.subject, arguments->force, cli_done, &outcome));
}

static const struct {
    const char *name;
    uint32_t operands;
    int32_t (*run)(cvm_t *cvm, const struct arguments *arguments);
} VERBS[] = {
    {"add", 1, put},
    {"show", 1, show},
    {"list", 0, list},
    {"enable", 1, enable},
    {"disable", 1, disable},
    {"reset", 1, reset},
    {"revoke", 1, revoke},
    {"remove", 1, remove_device},
};

/* --- The verb --------------------------------------------------------------------------------- */

static int32_t parse(int argc, char **argv, uint32_t operands, struct arguments *arguments)
{
    const struct cli_option options[] = {
        {"--config", 1, &arguments->config, NULL, NULL},
        {"--set", 1, NULL, NULL, &arguments->settings},
        {"--token-file", 1, &arguments->token_file, NULL, NULL},
        {"--reason", 1, &arguments->reason, NULL, NULL},
        {"--json", 0, NULL, &arguments->json, NULL},
        {"--pem", 0, NULL, &arguments->pem, NULL},
        {"--force", 0, NULL, &arguments->force, NULL},
        {"--disabled", 0, NULL, &arguments->disabled, NULL},
        {NULL, 0, NULL, NULL, NULL},
    };
    return cli_parse(argc, argv, options, USAGE, operands, operands, &arguments->operands);
}

int32_t cli_device(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "import") == 0)
        return cli_import(argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof VERBS / sizeof VERBS[0]; i++) {
        struct arguments arguments = {.config = NULL};
        cvm_t *cvm = NULL;
        if (strcmp(VERBS[i].name, name) != 0)
            continue;
        int32_t code = parse(argc - 1, argv + 1, VERBS[i].operands, &arguments);
        if (!code)
            code = cli_open(arguments.config, &arguments.settings, &cvm);
        if (code)
            return code;
        code = VERBS[i].run(cvm, &arguments);
        cli_close(cvm);
        return code;
    }
    int32_t asked = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
    (void)fputs(USAGE, asked ? stdout : stderr);
    return asked ? 0 : EX_USAGE;
}
