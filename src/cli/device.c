/* `cvm device`: the operator's verbs. Import has files of its own, printing is in device_print.c.
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "device_many.h"
#include "device_print.h"
#include "local/local.h"

#define PAGE 500

static const char USAGE[] =
    "usage: cvm device import FILE -c CONFIG [...]\n"
    "       cvm device add UID --token-file F [--disabled] -c CONFIG\n"
    "       cvm device show UID [--pem] -c CONFIG\n"
    "       cvm device find certificate ID | thing NAME | key SHA256 -c CONFIG\n"
    "       cvm device list -c CONFIG\n"
    "       cvm device enable|disable|reset UID... | --from FILE -c CONFIG\n"
    "       cvm device revoke UID... | --from FILE [--reason NAME] -c CONFIG\n"
    "       cvm device remove UID... | --from FILE [--force] -c CONFIG\n"
    "\n"
    "All of them work beside a running server, take --json, and --set NAME=VALUE for a property.\n"
    "`cvm device VERB --help` says more.\n";

struct arguments {
    const char *config, *token_file, *reason, *from;
    int32_t json, pem, force, disabled, dry_run;
    struct cli_list settings, operands;
    const char *ca; /* folder; NULL on another platform */
    int32_t is_shared;
};

struct query {
    int32_t is_done, code;
    const struct arguments *arguments;
    const char *subject; /* for errors */
    char cursor[512];
};

/* --- Reading ---------------------------------------------------------------------------------- */

static void got_device(void *user_data, const cvm_error_t *error, const cvm_device_t *device)
{
    struct query *query = user_data;
    const struct arguments *arguments = query->arguments;
    query->is_done = 1;
    if (error)
        query->code = cli_report(query->subject, error);
    else
        query->code = device_print(device, arguments->json, arguments->pem);
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
        query->code = cli_report(NULL, error);
    for (uint32_t i = 0; i < count && !query->code; i++)
        query->code = device_print_line(devices[i], query->arguments->json);
    (void)snprintf(query->cursor, sizeof query->cursor, "%s", cursor ? cursor : "");
}

static int32_t show(cvm_t *cvm, const struct arguments *arguments)
{
    struct query query = {.arguments = arguments, .subject = arguments->operands.values[0]};
    cvm_error_t *error = start_show(cvm, &query);
    if (error)
        return cli_error(arguments->operands.values[0], error);
    cli_run_until(cvm, &query.is_done);
    return query.code;
}

static int32_t find(cvm_t *cvm, const struct arguments *arguments)
{
    static const struct {
        const char *name;
        int32_t by;
    } WAYS[] = {{"certificate", CVM_BY_CERTIFICATE_ID}, {"thing", CVM_BY_THING_NAME},
        {"key", CVM_BY_PUBLIC_KEY}};
    struct query query = {.arguments = arguments, .subject = arguments->operands.values[1]};
    size_t way = 0;
    while (way < sizeof WAYS / sizeof WAYS[0] &&
           strcmp(WAYS[way].name, arguments->operands.values[0]) != 0)
        way++;
    if (way == sizeof WAYS / sizeof WAYS[0])
        return cli_fail(EX_USAGE, "cvm device find: by certificate, thing or key, not by '%.40s'",
            arguments->operands.values[0]);
    cvm_error_t *error = cvm_device_find(cvm, WAYS[way].by, query.subject, got_device, &query);
    if (error)
        return cli_error(query.subject, error);
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
    char *token = NULL;
    size_t length = 0;
    struct cli_outcome outcome = {.subject = arguments->operands.values[0]};
    if (!arguments->token_file)
        return cli_fail(
            EX_USAGE, "give the device's token by --token-file (\"-\" is standard input)");
    int32_t code = cli_read_secret(arguments->token_file, &token, &length);
    if (code)
        return code;
    cvm_error_t *error =
        cvm_device_put(cvm, outcome.subject, token, !arguments->disabled, cli_done, &outcome);
    cli_forget(token, length);
    return finish(cvm, &outcome, error);
}

static cvm_error_t *start_enable(
    cvm_t *cvm, const char *uid, const void *arguments, cvm_done_cb callback, void *user_data)
{
    (void)arguments;
    return cvm_device_enable(cvm, uid, callback, user_data);
}

static cvm_error_t *start_disable(
    cvm_t *cvm, const char *uid, const void *arguments, cvm_done_cb callback, void *user_data)
{
    (void)arguments;
    return cvm_device_disable(cvm, uid, callback, user_data);
}

static cvm_error_t *start_reset(
    cvm_t *cvm, const char *uid, const void *arguments, cvm_done_cb callback, void *user_data)
{
    (void)arguments;
    return cvm_device_reset(cvm, uid, callback, user_data);
}

static cvm_error_t *start_revoke(
    cvm_t *cvm, const char *uid, const void *arguments, cvm_done_cb callback, void *user_data)
{
    const struct arguments *given = arguments;
    return cvm_device_revoke(cvm, uid, given->reason, callback, user_data);
}

static cvm_error_t *start_remove(
    cvm_t *cvm, const char *uid, const void *arguments, cvm_done_cb callback, void *user_data)
{
    const struct arguments *given = arguments;
    return cvm_device_remove(cvm, uid, given->force, callback, user_data);
}

/* --- The table -------------------------------------------------------------------------------- */

struct verb {
    const char *name;
    uint32_t operands;
    /* One of these: what takes one device, or none; what takes many. */
    int32_t (*run)(cvm_t *cvm, const struct arguments *arguments);
    cvm_error_t *(*start)(
        cvm_t *cvm, const char *uid, const void *arguments, cvm_done_cb callback, void *user_data);
    enum device_change change; /* what is said when it is done */
    int32_t is_published;      /* a CRL says so too */
    const char *options;       /* those that it alone has, each ended by a space */
    const char *help;
};

#define FOR_ALL                                                                                    \
    "\n"                                                                                           \
    "  -c CONFIG          the instance's configuration\n"                                          \
    "  --json             one JSON object a line\n"                                                \
    "  --set NAME=VALUE   set a property\n"

#define FOR_MANY                                                                                   \
    "  --from FILE        the devices: a device_uid a line (\"-\" is standard input). They are "   \
    "changed\n"                                                                                    \
    "                     together, by one CRL. Safe to run again. Exit 65: some are unknown; "    \
    "75:\n"                                                                                        \
    "                     recorded, and the server carries it out\n"                               \
    "  --dry-run          only counts them\n" FOR_ALL

static const struct verb VERBS[] = {
    {"add", 1, put, NULL, DEVICE_ADDED, 0, "--token-file --disabled ",
        "usage: cvm device add UID --token-file F [--disabled] -c CONFIG\n"
        "\n"
        "Adds a device. Its token is read from F (\"-\" is standard input); the store keeps a "
        "hash.\n"
        "\n"
        "  --token-file F     1 to 256 printable ASCII characters without \":\", and a newline\n"
        "  --disabled         it can't register until `cvm device enable`\n" FOR_ALL},
    {"show", 1, show, NULL, DEVICE_NOT_CHANGED, 0, "--pem ",
        "usage: cvm device show UID [--pem] -c CONFIG\n"
        "\n"
        "Shows a device and its certificates.\n"
        "\n"
        "  --pem              the certificates as well\n" FOR_ALL},
    {"find", 2, find, NULL, DEVICE_NOT_CHANGED, 0, "--pem ",
        "usage: cvm device find certificate ID | thing NAME | key SHA256 -c CONFIG\n"
        "\n"
        "Shows the device that has it: whose certificate is that in the broker's log?\n"
        "\n"
        "  certificate ID     SHA-256 of its DER in hex, as `openssl x509 -fingerprint -sha256` "
        "prints\n"
        "                     it; also of one that is over or revoked\n"
        "  thing NAME         the thing's name, which is the certificate's CN\n"
        "  key SHA256         SHA-256 of the public key's SubjectPublicKeyInfo, in hex\n"
        "  --pem              the certificates as well\n" FOR_ALL},
    {"list", 0, list, NULL, DEVICE_NOT_CHANGED, 0, "",
        "usage: cvm device list -c CONFIG\n"
        "\n"
        "Lists all devices: state, when registered, uid. A state is waiting, registered, disabled "
        "or\n"
        "revoked.\n" FOR_ALL},
    {"enable", 1, NULL, start_enable, DEVICE_ENABLED, 1, "--from --dry-run ",
        "usage: cvm device enable UID... | --from FILE -c CONFIG\n"
        "\n"
        "Lets a device register, and lifts the suspension of its certificates. One that was "
        "revoked\n"
        "needs `cvm device reset` too.\n" FOR_MANY},
    {"disable", 1, NULL, start_disable, DEVICE_DISABLED, 1, "--from --dry-run ",
        "usage: cvm device disable UID... | --from FILE -c CONFIG\n"
        "\n"
        "No registration, and its certificates are suspended, until `cvm device enable`. Sessions\n"
        "that are open already live on until the broker drops them.\n" FOR_MANY},
    {"reset", 1, NULL, start_reset, DEVICE_RESET, 0, "--from --dry-run ",
        "usage: cvm device reset UID... | --from FILE -c CONFIG\n"
        "\n"
        "Allows one new registration; the old certificate retires when the new one is recorded.\n"
        "After `cvm device revoke` the device is disabled: it needs `cvm device enable` "
        "too.\n" FOR_MANY},
    {"revoke", 1, NULL, start_revoke, DEVICE_REVOKED, 1, "--reason --from --dry-run ",
        "usage: cvm device revoke UID... | --from FILE [--reason NAME] -c CONFIG\n"
        "\n"
        "Revokes a device's certificates now and disables it; returns when the CRL that says so "
        "is\n"
        "on disk. Sessions that are open already live on until the broker drops them. It takes\n"
        "`cvm device reset` and `cvm device enable` to let the device register again.\n"
        "\n"
        "  --reason NAME      RFC 5280's: unspecified (without the option), keyCompromise,\n"
        "                     affiliationChanged, superseded, cessationOfOperation, "
        "...\n" FOR_MANY},
    {"remove", 1, NULL, start_remove, DEVICE_REMOVED, 1, "--force --from --dry-run ",
        "usage: cvm device remove UID... | --from FILE [--force] -c CONFIG\n"
        "\n"
        "Forgets a device.\n"
        "\n"
        "  --force            also one that is registered; its certificates are "
        "revoked\n" FOR_MANY},
};

/* --- What is now so --------------------------------------------------------------------------- */

struct told {
    int32_t is_done, code;
    struct device_news news;
    const struct arguments *arguments;
};

static void tell(void *user_data, const cvm_error_t *error, const cvm_device_t *device)
{
    struct told *told = user_data;
    told->is_done = 1;
    told->news.device = device;
    told->code = error ? cli_report(told->news.uid, error)
                       : device_print_news(&told->news, told->arguments->json);
}

static int32_t tell_news(cvm_t *cvm, const struct verb *verb, const struct arguments *arguments)
{
    struct told told = {.arguments = arguments,
        .news = {.change = verb->change,
            .uid = arguments->operands.values[0],
            .is_shared = arguments->is_shared}};
    if (arguments->ca && verb->is_published && (verb->change != DEVICE_REMOVED || arguments->force))
        told.news.crl_number = cvm_local_crl_number(arguments->ca);
    if (verb->change == DEVICE_REMOVED)
        return device_print_news(&told.news, arguments->json);
    cvm_error_t *error = cvm_device_get(cvm, told.news.uid, tell, &told);
    if (error)
        return cli_error(told.news.uid, error);
    cli_run_until(cvm, &told.is_done);
    return told.code;
}

/* --- The verb --------------------------------------------------------------------------------- */

/* Adds an option if the verb has it. */
static void offer(struct cli_option **options, const struct verb *verb, struct cli_option option)
{
    const char *place = strstr(verb->options, option.name);
    if (place && place[strlen(option.name)] == ' ')
        *(*options)++ = option;
}

static int32_t parse(int argc, char **argv, const struct verb *verb, struct arguments *arguments)
{
    struct cli_option options[12] = {
        {"--config", 1, &arguments->config, NULL, NULL},
        {"--set", 1, NULL, NULL, &arguments->settings},
        {"--json", 0, NULL, &arguments->json, NULL},
    };
    struct cli_option *end = options + 3;
    offer(&end, verb, (struct cli_option){"--token-file", 1, &arguments->token_file, NULL, NULL});
    offer(&end, verb, (struct cli_option){"--disabled", 0, NULL, &arguments->disabled, NULL});
    offer(&end, verb, (struct cli_option){"--reason", 1, &arguments->reason, NULL, NULL});
    offer(&end, verb, (struct cli_option){"--pem", 0, NULL, &arguments->pem, NULL});
    offer(&end, verb, (struct cli_option){"--force", 0, NULL, &arguments->force, NULL});
    offer(&end, verb, (struct cli_option){"--from", 1, &arguments->from, NULL, NULL});
    offer(&end, verb, (struct cli_option){"--dry-run", 0, NULL, &arguments->dry_run, NULL});
    *end = (struct cli_option){NULL, 0, NULL, NULL, NULL};
    uint32_t most = verb->start ? CLI_MOST_LISTED : verb->operands;
    int32_t code = cli_parse(argc, argv, options, verb->help, 0, most, &arguments->operands);
    if (code || arguments->operands.count + (arguments->from != NULL) >= verb->operands)
        return !code && arguments->from && arguments->operands.count
                   ? cli_fail(EX_USAGE, "name the devices, or a file of them; not both")
                   : code;
    return cli_fail(EX_USAGE, "cvm device %s: which device?", verb->name);
}

static int32_t change_one(cvm_t *cvm, const struct verb *verb, const struct arguments *arguments)
{
    struct cli_outcome outcome = {.subject = arguments->operands.values[0]};
    cvm_error_t *error = verb->start(cvm, outcome.subject, arguments, cli_done, &outcome);
    return finish(cvm, &outcome, error);
}

/* One device is answered by what is so now; many by a report. */
static int32_t change(cvm_t *cvm, const struct verb *verb, const struct arguments *arguments)
{
    if (arguments->operands.count == 1 && !arguments->dry_run) {
        int32_t code = change_one(cvm, verb, arguments);
        return code ? code : tell_news(cvm, verb, arguments);
    }
    const struct device_many many = {.change = verb->change,
        .operands = &arguments->operands,
        .from = arguments->from,
        .dry_run = arguments->dry_run,
        .json = arguments->json,
        .spares_registered = verb->change == DEVICE_REMOVED && !arguments->force,
        .is_published = verb->is_published,
        .ca = arguments->ca,
        .is_shared = arguments->is_shared,
        .start = verb->start,
        .arguments = arguments};
    return device_change_many(cvm, &many);
}

static int32_t read_or_add(cvm_t *cvm, const struct verb *verb, const struct arguments *arguments)
{
    int32_t code = verb->run(cvm, arguments);
    return code || verb->change == DEVICE_NOT_CHANGED ? code : tell_news(cvm, verb, arguments);
}

static int32_t run(const struct verb *verb, struct arguments *arguments)
{
    cvm_conf_t *conf = NULL;
    cvm_t *cvm = NULL;
    int32_t code = cli_configure(arguments->config, &arguments->settings, &conf);
    if (code)
        return code;
    arguments->ca = cli_ca_folder(conf);
    arguments->is_shared = cli_is_shared(conf);
    if (verb->change == DEVICE_NOT_CHANGED) /* who only reads need not be who may write it */
        code = cli_error(NULL, cvm_conf_set(conf, "audit.file", ""));
    if (!code)
        code = cli_open(conf, &cvm);
    if (!code)
        code = (verb->start ? change : read_or_add)(cvm, verb, arguments);
    cli_close(cvm);
    cvm_conf_free(conf);
    return code;
}

int32_t cli_device(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "import") == 0)
        return cli_import(argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof VERBS / sizeof VERBS[0]; i++) {
        struct arguments arguments = {.config = NULL};
        if (strcmp(VERBS[i].name, name) != 0)
            continue;
        int32_t code = parse(argc - 1, argv + 1, &VERBS[i], &arguments);
        return code ? code : run(&VERBS[i], &arguments);
    }
    return cli_no_verb("device", name, USAGE);
}
