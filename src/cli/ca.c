/* `cvm ca`: shows the CA, writes its CRL, certifies other servers. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "local/local.h"

#define LONGEST_PATH 4096
#define ERROR_SIZE   512

static const char USAGE[] =
    "usage: cvm ca show [--json] -c CONFIG           its certificates and its CRL\n"
    "       cvm ca crl -c CONFIG                     makes and writes a new crl.pem\n"
    "       cvm ca server NAME... --out DIR -c CONFIG  a server's key and certificate, into DIR\n";

struct arguments {
    const char *config, *out;
    int32_t json;
    struct cli_list settings, operands;
};

/* The CA's folder. 0 or an exit code. */
static int32_t find_folder(const struct arguments *arguments, char folder[LONGEST_PATH])
{
    cvm_conf_t *conf = NULL;
    int32_t code = cli_configure(arguments->config, &arguments->settings, &conf);
    if (code)
        return code;
    const char *platform = cvm_conf_get(conf, "platform");
    if (strncmp(platform, "local:", 6) != 0)
        code = cli_fail(EX_CONFIG, "platform = %s has no CA here", platform);
    else
        (void)snprintf(folder, LONGEST_PATH, "%s", platform + 6);
    cvm_conf_free(conf);
    return code;
}

static int32_t show(const struct arguments *arguments)
{
    char folder[LONGEST_PATH], why[ERROR_SIZE];
    int32_t code = find_folder(arguments, folder);
    if (!code && cvm_local_show(folder, arguments->json, stdout, why, sizeof why))
        code = cli_fail(EX_CONFIG, "%s", why);
    return code;
}

static int32_t write_crl(const struct arguments *arguments)
{
    cvm_t *cvm = NULL;
    struct cli_outcome outcome = {0};
    char folder[LONGEST_PATH];
    int32_t code = find_folder(arguments, folder);
    if (!code)
        code = cli_open(arguments->config, &arguments->settings, &cvm);
    if (code)
        return code;
    code = cli_error(NULL, cvm_reload(cvm, cli_done, &outcome));
    if (!code) {
        cli_run_until(cvm, &outcome.is_done);
        code = outcome.code;
    }
    cli_close(cvm);
    return code ? code : show(arguments);
}

static int32_t certify(const struct arguments *arguments)
{
    char folder[LONGEST_PATH], certificate[LONGEST_PATH], key[LONGEST_PATH], why[ERROR_SIZE];
    if (!arguments->operands.count || !arguments->out)
        return cli_fail(EX_USAGE, "name the server, and the folder: --out DIR");
    int32_t code = find_folder(arguments, folder);
    if (code)
        return code;
    if (mkdir(arguments->out, 0755) && errno != EEXIST)
        return cli_fail(EX_CANTCREAT, "%s: %s", arguments->out, strerror(errno));
    (void)snprintf(certificate, sizeof certificate, "%s/server.pem", arguments->out);
    (void)snprintf(key, sizeof key, "%s/server.key", arguments->out);
    const struct cvm_local_server server = {
        arguments->operands.values, arguments->operands.count, certificate, key, -1};
    if (cvm_local_server(folder, &server, why, sizeof why))
        return cli_fail(EX_UNAVAILABLE, "%s", why);
    (void)printf("%s\n%s\n", certificate, key);
    return 0;
}

int32_t cli_ca(int argc, char **argv)
{
    static const struct {
        const char *name;
        uint32_t most;
        int32_t (*run)(const struct arguments *arguments);
    } VERBS[] = {{"show", 0, show}, {"crl", 0, write_crl}, {"server", CLI_MOST_LISTED, certify}};
    const char *name = argc > 1 ? argv[1] : "";
    struct arguments arguments = {.config = NULL};
    const struct cli_option options[] = {{"--config", 1, &arguments.config, NULL, NULL},
        {"--set", 1, NULL, NULL, &arguments.settings}, {"--out", 1, &arguments.out, NULL, NULL},
        {"--json", 0, NULL, &arguments.json, NULL}, {NULL, 0, NULL, NULL, NULL}};
    for (size_t i = 0; i < sizeof VERBS / sizeof VERBS[0]; i++) {
        if (strcmp(VERBS[i].name, name) != 0)
            continue;
        int32_t code =
            cli_parse(argc - 1, argv + 1, options, USAGE, 0, VERBS[i].most, &arguments.operands);
        return code ? code : VERBS[i].run(&arguments);
    }
    int32_t asked = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
    (void)fputs(USAGE, asked ? stdout : stderr);
    return asked ? 0 : EX_USAGE;
}
