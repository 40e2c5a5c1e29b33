/* `cvm ca`: shows the CA, writes its CRL, certifies other servers. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cli.h"
#include "local/local.h"

#define LONGEST_PATH 4096
#define ERROR_SIZE   512

static const char USAGE[] =
    "usage: cvm ca show [--json] -c CONFIG           its certificates and its CRL\n"
    "       cvm ca crl [--json] -c CONFIG            makes and writes a new crl.pem\n"
    "       cvm ca server NAME... --out DIR [--json] -c CONFIG\n"
    "                                                DIR/server.pem, and DIR/server.key if there "
    "is\n"
    "                                                none: for a server of these names, such as a\n"
    "                                                second broker\n"
    "       cvm ca server --renew [--json] -c CONFIG\n"
    "                                                new certificates for the server and the "
    "broker "
    "that\n"
    "                                                init made, with their names and keys\n";

struct arguments {
    const char *config, *out;
    int32_t json, renew;
    struct cli_list settings, operands;
};

static int32_t show(const struct arguments *arguments, cvm_conf_t *conf)
{
    char why[ERROR_SIZE];
    if (cvm_local_show(cli_ca_folder(conf), arguments->json, stdout, why, sizeof why))
        return cli_fail(EX_CONFIG, "%s", why);
    return 0;
}

static int32_t write_crl(const struct arguments *arguments, cvm_conf_t *conf)
{
    cvm_t *cvm = NULL;
    struct cli_outcome outcome = {0};
    int32_t code = cli_open(conf, &cvm);
    if (code)
        return code;
    code = cli_error(NULL, cvm_reload(cvm, cli_done, &outcome));
    if (!code) {
        cli_run_until(cvm, &outcome.is_done);
        code = outcome.code;
    }
    cli_close(cvm);
    return code ? code : show(arguments, conf);
}

static int32_t print_files(const char *certificate, const char *key, int32_t json)
{
    cJSON *object = json ? cJSON_CreateObject() : NULL;
    if (!json) {
        (void)printf("%s\n%s\n", certificate, key);
        return 0;
    }
    if (cli_json_text(object, "certificate", certificate) || cli_json_text(object, "key", key)) {
        cJSON_Delete(object);
        object = NULL;
    }
    return cli_print_json(object);
}

/* One of those that init made. 0, or an exit code. */
static int32_t renew_one(
    const struct arguments *arguments, const char *folder, const char *certificate, const char *key)
{
    char why[ERROR_SIZE];
    if (!*certificate || access(certificate, F_OK))
        return 0;
    int32_t renewed = cvm_local_renew_server(folder, certificate, key, 1, why, sizeof why);
    if (renewed < 0)
        return cli_fail(EX_UNAVAILABLE, "%s: %s", certificate, why);
    if (!renewed)
        return cli_fail(0, "%s is not this CA's: it stays as it is", certificate);
    return print_files(certificate, key, arguments->json);
}

static int32_t renew_both(const struct arguments *arguments, const cvm_conf_t *conf)
{
    char certificate[LONGEST_PATH], key[LONGEST_PATH];
    const char *folder = cli_ca_folder(conf);
    cvm_local_path(folder, "mosquitto/server.pem", certificate, sizeof certificate);
    cvm_local_path(folder, "mosquitto/server.key", key, sizeof key);
    int32_t code = renew_one(arguments, folder, certificate, key);
    int32_t other = renew_one(arguments, folder, cvm_conf_get(conf, "http.tls_certificate"),
        cvm_conf_get(conf, "http.tls_private_key"));
    return code ? code : other;
}

/* The store says whether the clock can be right. */
static int32_t renew(const struct arguments *arguments, cvm_conf_t *conf)
{
    cvm_t *cvm = NULL;
    if (arguments->operands.count || arguments->out)
        return cli_fail(EX_USAGE, "--renew takes no names: certificates keep theirs");
    int32_t code = cli_open(conf, &cvm);
    if (!code)
        code = cli_error(NULL, cvm_check_clock(cvm)) ? EX_TEMPFAIL : 0;
    cli_close(cvm);
    return code ? code : renew_both(arguments, conf);
}

/* Before a folder is made for it. 0, or an exit code after saying what is missing. */
static int32_t check_server(const struct arguments *arguments)
{
    if (!arguments->operands.count || !arguments->out)
        return cli_fail(EX_USAGE, "name the server, and the folder: --out DIR");
    for (uint32_t i = 0; i < arguments->operands.count; i++)
        if (!cvm_local_is_server_name(arguments->operands.values[i]))
            return cli_fail(EX_USAGE, "'%s' is neither a DNS name nor an address",
                arguments->operands.values[i]);
    return 0;
}

static int32_t certify(const struct arguments *arguments, cvm_conf_t *conf)
{
    char certificate[LONGEST_PATH], key[LONGEST_PATH], why[ERROR_SIZE];
    if (arguments->renew)
        return renew(arguments, conf);
    int32_t code = check_server(arguments);
    if (code)
        return code;
    if (mkdir(arguments->out, 0755) && errno != EEXIST)
        return cli_fail(EX_CANTCREAT, "%s: %s", arguments->out, strerror(errno));
    (void)snprintf(certificate, sizeof certificate, "%s/server.pem", arguments->out);
    (void)snprintf(key, sizeof key, "%s/server.key", arguments->out);
    const struct cvm_local_server server = {
        arguments->operands.values, arguments->operands.count, certificate, key, -1};
    if (cvm_local_server(cli_ca_folder(conf), &server, why, sizeof why))
        return cli_fail(EX_UNAVAILABLE, "%s", why);
    return print_files(certificate, key, arguments->json);
}

struct verb {
    const char *name;
    uint32_t most;
    int32_t (*run)(const struct arguments *arguments, cvm_conf_t *conf);
};

static int32_t run(const struct verb *verb, const struct arguments *arguments)
{
    cvm_conf_t *conf = NULL;
    int32_t code = cli_configure(arguments->config, &arguments->settings, &conf);
    if (code)
        return code;
    if (cli_ca_folder(conf))
        code = verb->run(arguments, conf);
    else
        code = cli_fail(EX_CONFIG, "platform = %s has no CA here", cvm_conf_get(conf, "platform"));
    cvm_conf_free(conf);
    return code;
}

int32_t cli_ca(int argc, char **argv)
{
    static const struct verb VERBS[] = {
        {"show", 0, show}, {"crl", 0, write_crl}, {"server", CLI_MOST_LISTED, certify}};
    const char *name = argc > 1 ? argv[1] : "";
    struct arguments arguments = {.config = NULL};
    const struct cli_option options[] = {{"--config", 1, &arguments.config, NULL, NULL},
        {"--set", 1, NULL, NULL, &arguments.settings}, {"--json", 0, NULL, &arguments.json, NULL},
        {strcmp(name, "server") == 0 ? "--out" : NULL, 1, &arguments.out, NULL, NULL},
        {"--renew", 0, NULL, &arguments.renew, NULL}, {NULL, 0, NULL, NULL, NULL}};
    for (size_t i = 0; i < sizeof VERBS / sizeof VERBS[0]; i++) {
        if (strcmp(VERBS[i].name, name) != 0)
            continue;
        int32_t code =
            cli_parse(argc - 1, argv + 1, options, USAGE, 0, VERBS[i].most, &arguments.operands);
        return code ? code : run(&VERBS[i], &arguments);
    }
    return cli_no_verb("ca", name, USAGE);
}
