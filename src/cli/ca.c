/* `cvm ca`: shows the CA, writes its CRL, certifies other servers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cli.h"
#include "local/local.h"

#define LONGEST_PATH 4096
#define ERROR_SIZE   512
#define MOST_OPTIONS 6 /* of a verb, and an empty one */

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
    "                                                init made, with their names and keys\n"
    "       cvm ca rotate --root-key FILE [--root-passphrase-file FILE] [--json] -c CONFIG\n"
    "                                                makes the next issuing CA, which signs from "
    "now on;\n"
    "                                                the old one stays in chain.pem and the CRL\n"
    "       cvm ca add CERTIFICATE [--json] -c CONFIG\n"
    "                                                lets a server that has this issuing CA of "
    "the root\n"
    "                                                work with the store\n";

struct arguments {
    const char *config, *out, *root_key, *passphrase_file;
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

/* Has the CA read again, and CRLs made anew. */
static int32_t publish(cvm_conf_t *conf)
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
    return code;
}

static int32_t write_crl(const struct arguments *arguments, cvm_conf_t *conf)
{
    int32_t code = publish(conf);
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

/* --- Issuing CAs ------------------------------------------------------------------------------ */

/* The store's servers may have the issuing CAs in that file; the CRLs of those whose keys are here
 * are made anew. 0 or an exit code. */
static int32_t admit(cvm_conf_t *conf, const char *certificate)
{
    char path[LONGEST_PATH];
    /* A property's relative path would count from the configuration's file. */
    if (!realpath(certificate, path))
        return cli_fail(EX_NOINPUT, "%s: %s", certificate, strerror(errno));
    int32_t code = cli_error("ca.admit", cvm_conf_set(conf, "ca.admit", path));
    return code ? code : publish(conf);
}

static int32_t print_rotation(
    const struct cvm_local_rotation *rotation, const char *folder, int32_t json)
{
    cJSON *object = json ? cJSON_CreateObject() : NULL;
    if (!json) {
        (void)printf(
            "%s signs from now on in %s; the one before stays beside it until its last "
            "certificate has ended\n"
            "next: `systemctl reload cvm` (or SIGHUP) here; then copy issuing* to each other "
            "server's CA folder (keys 0600), and reload it\n"
            "brokers: cvm-mosquitto-reload hands them chain.pem and the CRLs of both\n",
            rotation->key_id, folder);
        return 0;
    }
    if (cli_json_text(object, "issuing", rotation->key_id) ||
        cli_json_text(object, "before", rotation->before)) {
        cJSON_Delete(object);
        object = NULL;
    }
    return cli_print_json(object);
}

/* Its CRL is out before it signs. */
static int32_t rotate_with(
    const struct arguments *arguments, cvm_conf_t *conf, const char *passphrase)
{
    char why[ERROR_SIZE];
    const char *folder = cli_ca_folder(conf);
    struct cvm_local_rotation rotation = {
        .root_key = arguments->root_key, .passphrase = passphrase};
    if (cvm_local_rotate_begin(folder, &rotation, why, sizeof why))
        return cli_fail(EX_UNAVAILABLE, "%s", why);
    int32_t code = admit(conf, rotation.certificate);
    if (code)
        return code;
    if (cvm_local_rotate_end(folder, &rotation, why, sizeof why))
        return cli_fail(EX_CANTCREAT, "%s; run it again", why);
    return print_rotation(&rotation, folder, arguments->json);
}

static int32_t rotate(const struct arguments *arguments, cvm_conf_t *conf)
{
    char *passphrase = NULL;
    size_t length = 0;
    int32_t code = 0;
    if (!arguments->root_key)
        return cli_fail(EX_USAGE, "name the root's private key: --root-key FILE");
    if (arguments->passphrase_file)
        code = cli_read_secret(arguments->passphrase_file, &passphrase, &length);
    if (!code)
        code = rotate_with(arguments, conf, passphrase);
    cli_forget(passphrase, length);
    return code;
}

static int32_t add(const struct arguments *arguments, cvm_conf_t *conf)
{
    const char *certificate = arguments->operands.values[0];
    int32_t code = arguments->operands.count
                       ? admit(conf, certificate)
                       : cli_fail(EX_USAGE, "name the issuing CA's certificate");
    if (!code && arguments->json) {
        cJSON *object = cJSON_CreateObject();
        if (cli_json_text(object, "added", certificate)) {
            cJSON_Delete(object);
            object = NULL;
        }
        return cli_print_json(object);
    }
    if (!code)
        (void)printf("the store's servers may have the issuing CA in %s\n", certificate);
    return code;
}

/* --- The verbs -------------------------------------------------------------------------------- */

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

/* Those of all, and then the verb's own. */
static void list_options(
    const char *verb, struct arguments *arguments, struct cli_option options[MOST_OPTIONS])
{
    const struct cli_option all[] = {{"--config", 1, &arguments->config, NULL, NULL},
        {"--set", 1, NULL, NULL, &arguments->settings},
        {"--json", 0, NULL, &arguments->json, NULL}};
    const struct cli_option server[] = {
        {"--out", 1, &arguments->out, NULL, NULL}, {"--renew", 0, NULL, &arguments->renew, NULL}};
    const struct cli_option rotate[] = {{"--root-key", 1, &arguments->root_key, NULL, NULL},
        {"--root-passphrase-file", 1, &arguments->passphrase_file, NULL, NULL}};
    memset(options, 0, MOST_OPTIONS * sizeof *options);
    memcpy(options, all, sizeof all);
    if (strcmp(verb, "server") == 0)
        memcpy(options + 3, server, sizeof server);
    if (strcmp(verb, "rotate") == 0)
        memcpy(options + 3, rotate, sizeof rotate);
}

int32_t cli_ca(int argc, char **argv)
{
    static const struct verb VERBS[] = {{"show", 0, show}, {"crl", 0, write_crl},
        {"server", CLI_MOST_LISTED, certify}, {"rotate", 0, rotate}, {"add", 1, add}};
    const char *name = argc > 1 ? argv[1] : "";
    struct arguments arguments = {.config = NULL};
    struct cli_option options[MOST_OPTIONS];
    list_options(name, &arguments, options);
    for (size_t i = 0; i < sizeof VERBS / sizeof VERBS[0]; i++) {
        if (strcmp(VERBS[i].name, name) != 0)
            continue;
        int32_t code =
            cli_parse(argc - 1, argv + 1, options, USAGE, 0, VERBS[i].most, &arguments.operands);
        return code ? code : run(&VERBS[i], &arguments);
    }
    return cli_no_verb("ca", name, USAGE);
}
