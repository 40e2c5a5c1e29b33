/* `cvm init`: an instance in a folder, with all that `cvm serve` and a mosquitto need. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compat.h"
#include "base/endpoint.h"
#include "base/files.h"
#include "cli.h"
#include "local/local.h"

#define LONGEST_PATH 4096
#define ERROR_SIZE   512
#define MQTT_PORT    8883
#define LONGEST_URL  400

static const char USAGE[] =
    "usage: cvm init DIR [--endpoint HOST:PORT] [--host NAME]... [--root-key-out FILE]\n"
    "                [--root-passphrase-file FILE] [--crl-url URL]\n"
    "\n"
    "Makes an instance in the new folder DIR: configuration, store, CA, the server's certificate "
    "for\n"
    "localhost and each NAME (DNS name or address), and the configuration of a mosquitto.\n"
    "  --endpoint              the broker that devices are told to connect to (localhost:8883)\n"
    "  --host                  a name or address by which devices reach this server; with one, it\n"
    "                          listens on all addresses ([::]:8443, or 0.0.0.0:8443 if each NAME\n"
    "                          is an IPv4 address), else on 127.0.0.1 alone\n"
    "  --root-key-out          where the root's private key goes (DIR/ca/offline/root.key)\n"
    "  --root-passphrase-file  encrypts that key with the passphrase in FILE\n"
    "  --crl-url               where brokers fetch CRLs, such as http://ca.example.com:8080/ca: "
    "the\n"
    "                          issuing CA's certificate names URL/root.crl, which can't be added\n"
    "                          later, and ca.crl_url is set; see also ca.listen\n"
    "\n"
    "If it can't finish, it removes what it has made.\n";

struct plan {
    const char *folder, *endpoint, *root_key_out, *passphrase_file, *crl_url;
    struct cli_list hosts;
    char absolute[LONGEST_PATH], root_key[LONGEST_PATH];
    struct cvm_endpoint broker;
    char *passphrase;
    size_t passphrase_length;
    /* What is ours to remove again. */
    int32_t made_folder, made_folders, made_root_key;
};

/* What an instance has in each folder; the last one is the instance's own. */
static const struct {
    const char *name;
    mode_t mode;
    const char *files[12];
} FOLDERS[] = {
    {"ca", 0755,
        {"root.pem", "issuing.pem", "chain.pem", "crl.pem", "root.crl.pem", "issuing.key",
            ".crl.lock"}},
    {"ca/offline", 0700, {"root.key"}},
    {"tls", 0755, {"server.pem", "server.key"}},
    {"mosquitto", 0755, {"server.pem", "server.key", "crl.pem", "acl", "mosquitto.conf"}},
    {".", 0755,
        {"cvm.conf", "audit.log", "devices.db", "devices.db-journal", "devices.db-wal",
            "devices.db-shm", "devices.db.lock"}},
};
#define FOLDER_COUNT ((int32_t)(sizeof FOLDERS / sizeof FOLDERS[0]))

/* --- Files ------------------------------------------------------------------------------------ */

/* Makes what is not there: what is, is somebody else's. The broker, another user, must get through;
 * the umask has no say in that. */
static int32_t make_folders(struct plan *plan)
{
    char path[LONGEST_PATH + 16];
    for (; plan->made_folders < FOLDER_COUNT; plan->made_folders++) {
        const char *name = FOLDERS[plan->made_folders].name;
        mode_t mode = FOLDERS[plan->made_folders].mode;
        if (plan->root_key_out && strcmp(name, "ca/offline") == 0)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", plan->absolute, name);
        if (strcmp(name, ".") != 0 && mkdir(path, mode))
            return cli_fail(EX_CANTCREAT, "%s: %s", path, strerror(errno));
        if (chmod(path, mode)) {
            plan->made_folders++;
            return cli_fail(EX_CANTCREAT, "%s: %s", path, strerror(errno));
        }
    }
    return 0;
}

/* Undoes a half of an instance: a second try should find what the first one found. */
static void remove_all(const struct plan *plan)
{
    char path[LONGEST_PATH + 64];
    for (int32_t i = plan->made_folders - 1; i >= 0; i--) {
        for (const char *const *file = FOLDERS[i].files; *file; file++) {
            (void)snprintf(path, sizeof path, "%s/%s/%s", plan->absolute, FOLDERS[i].name, *file);
            (void)unlink(path);
        }
    }
    if (plan->made_root_key)
        (void)unlink(plan->root_key);
    for (int32_t i = plan->made_folders - 1; i >= 0; i--) {
        (void)snprintf(path, sizeof path, "%s/%s", plan->absolute, FOLDERS[i].name);
        (void)rmdir(path); /* "." can't be removed so */
    }
    if (plan->made_folder)
        (void)rmdir(plan->folder);
}

static int32_t write_text(const struct plan *plan, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int32_t write_text(const struct plan *plan, const char *name, const char *format, ...)
{
    char path[LONGEST_PATH + 32], why[ERROR_SIZE], *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        return cli_fail(EX_OSERR, "out of memory");
    (void)snprintf(path, sizeof path, "%s/%s", plan->absolute, name);
    int32_t failed =
        cvm_files_replace(path, text, (size_t)length, 0644, (gid_t)-1, why, sizeof why);
    free(text);
    return failed ? cli_fail(EX_CANTCREAT, "%s", why) : 0;
}

/* A new folder, or an empty one: nothing of anybody's is overwritten. */
static int32_t claim_folder(struct plan *plan)
{
    if (mkdir(plan->folder, 0755) == 0)
        plan->made_folder = 1;
    else if (errno != EEXIST)
        return cli_fail(EX_CANTCREAT, "%s: %s", plan->folder, strerror(errno));
    DIR *folder = opendir(plan->folder);
    if (!folder || !realpath(plan->folder, plan->absolute)) {
        if (folder)
            (void)closedir(folder);
        return cli_fail(EX_CANTCREAT, "%s: %s", plan->folder, strerror(errno));
    }
    int32_t is_used = 0;
    for (const struct dirent *entry; (entry = readdir(folder));)
        is_used |= strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    (void)closedir(folder);
    if (is_used)
        return cli_fail(EX_CANTCREAT, "%s is not empty; init makes a new instance in a new folder",
            plan->folder);
    return 0;
}

/* --- Parts ------------------------------------------------------------------------------------ */

/* Does the file's folder lie in that one? */
static int32_t is_inside(const char *file, const char *folder)
{
    char copy[LONGEST_PATH], real[PATH_MAX];
    size_t length = strlen(folder);
    (void)snprintf(copy, sizeof copy, "%s", file);
    return realpath(dirname(copy), real) && strncmp(real, folder, length) == 0 &&
           (real[length] == '/' || !real[length]);
}

static int32_t make_ca(struct plan *plan)
{
    char folder[LONGEST_PATH + 16], why[ERROR_SIZE];
    (void)snprintf(folder, sizeof folder, "%s/ca", plan->absolute);
    if (plan->root_key_out)
        (void)snprintf(plan->root_key, sizeof plan->root_key, "%s", plan->root_key_out);
    else
        (void)snprintf(
            plan->root_key, sizeof plan->root_key, "%.4000s/ca/offline/root.key", plan->absolute);
    if (cvm_files_exists(plan->root_key))
        return cli_fail(EX_CANTCREAT, "%s exists already", plan->root_key);
    if (plan->root_key_out && is_inside(plan->root_key_out, plan->absolute))
        return cli_fail(EX_USAGE,
            "--root-key-out: choose a place outside %s, where the root's key "
            "does not stay",
            plan->folder);
    plan->made_root_key = 1;
    char url[LONGEST_URL + 16] = "";
    if (plan->crl_url)
        (void)snprintf(url, sizeof url, "%s/root.crl", plan->crl_url);
    if (cvm_local_init(
            folder, plan->root_key, plan->passphrase, plan->crl_url ? url : NULL, why, sizeof why))
        return cli_fail(EX_CANTCREAT, "%s", why);
    return 0;
}

static int32_t make_server(
    const struct plan *plan, const char *folder, const char *extra_name, int64_t group)
{
    const char *names[CLI_MOST_LISTED + 4] = {"localhost", "127.0.0.1", "::1"};
    uint32_t count = 3;
    char ca[LONGEST_PATH + 16], certificate[LONGEST_PATH + 32], key[LONGEST_PATH + 32];
    char why[ERROR_SIZE];
    for (uint32_t i = 0; i < plan->hosts.count; i++)
        names[count++] = plan->hosts.values[i];
    if (extra_name && strcmp(extra_name, "localhost") != 0)
        names[count++] = extra_name;
    (void)snprintf(ca, sizeof ca, "%s/ca", plan->absolute);
    (void)snprintf(certificate, sizeof certificate, "%s/%s/server.pem", plan->absolute, folder);
    (void)snprintf(key, sizeof key, "%s/%s/server.key", plan->absolute, folder);
    const struct cvm_local_server server = {names, count, certificate, key, group};
    if (cvm_local_server(ca, &server, why, sizeof why))
        return cli_fail(EX_CANTCREAT, "%s", why);
    return 0;
}

/* The broker reads a copy of its own; cvm-mosquitto-reload replaces it by what it has checked. */
static int32_t copy_crl(const struct plan *plan)
{
    char path[LONGEST_PATH + 16], why[ERROR_SIZE];
    size_t length;
    (void)snprintf(path, sizeof path, "%s/ca/crl.pem", plan->absolute);
    char *crl = cvm_files_read(path, &length, why, sizeof why);
    int32_t code =
        crl ? write_text(plan, "mosquitto/crl.pem", "%s", crl) : cli_fail(EX_CANTCREAT, "%s", why);
    free(crl);
    return code;
}

static int32_t write_broker_configuration(const struct plan *plan)
{
    return write_text(plan, "mosquitto/mosquitto.conf",
        "# mosquitto 2.0 for this instance's devices. It reads crlfile and certfile at its start "
        "and on\n"
        "# SIGHUP only. A crlfile that it can't read makes it accept revoked devices, one that "
        "has\n"
        "# expired makes it refuse all. So it has a copy of ca/crl.pem: cvm-mosquitto-reload (in\n"
        "# deploy/mosquitto) checks a new one, puts it here, and tells the broker.\n"
        "listener %u\n"
        "cafile %s/ca/chain.pem\n"
        "certfile %s/mosquitto/server.pem\n"
        "keyfile %s/mosquitto/server.key\n"
        "crlfile %s/mosquitto/crl.pem\n"
        "tls_version tlsv1.2\n"
        "require_certificate true\n"
        "# The certificate's CN, which is the thing's name, is who a device is; its client id "
        "too,\n"
        "# or one device could take over another's session.\n"
        "use_identity_as_username true\n"
        "use_username_as_clientid true\n"
        "allow_anonymous false\n"
        "acl_file %s/mosquitto/acl\n",
        (unsigned)plan->broker.port, plan->absolute, plan->absolute, plan->absolute, plan->absolute,
        plan->absolute);
}

static int32_t make_broker(const struct plan *plan)
{
    const struct group *group = getgrnam("mosquitto");
    int32_t code =
        make_server(plan, "mosquitto", plan->broker.host, group ? (int64_t)group->gr_gid : -1);
    if (!code)
        code = copy_crl(plan);
    if (!code)
        code = write_text(plan, "mosquitto/acl",
            "# A device may use its own topics, and no others. %%u is its thing's name.\n"
            "pattern readwrite things/%%u/#\n");
    return code ? code : write_broker_configuration(plan);
}

static int32_t is_ipv4(const char *host)
{
    return cvm_is_address(host) && !strchr(host, ':');
}

static int32_t has_ipv6(void)
{
    int fd = cvm_socket(AF_INET6, SOCK_STREAM);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

/* [::] takes IPv4 too; a name may have addresses of either kind. A kernel without IPv6 can't have
 * it. */
static const char *listen_address(const struct plan *plan)
{
    if (!plan->hosts.count)
        return "127.0.0.1";
    for (uint32_t i = 0; i < plan->hosts.count; i++)
        if (!is_ipv4(plan->hosts.values[i]) &&
            (has_ipv6() || cvm_is_address(plan->hosts.values[i])))
            return "[::]";
    return "0.0.0.0";
}

static int32_t write_configuration(const struct plan *plan)
{
    char endpoint[CVM_ENDPOINT_SIZE];
    cvm_endpoint_print(&plan->broker, MQTT_PORT, endpoint);
    return write_text(plan, "cvm.conf",
        "# `cvm config` lists all properties. Paths are relative to this file.\n"
        "store = file:devices.db\n"
        "platform = local:ca\n"
        "\n"
        "# The broker, as devices are told it.\n"
        "mqtt.endpoint = %s\n"
        "\n"
        "http.listen = %s:8443\n"
        "http.tls_certificate = tls/server.pem\n"
        "http.tls_private_key = tls/server.key\n"
        "ops.listen = 127.0.0.1:9464\n"
        "\n"
        "audit.file = audit.log\n"
        "%s%s%s",
        endpoint, listen_address(plan), plan->crl_url ? "\nca.crl_url = " : "",
        plan->crl_url ? plan->crl_url : "", plan->crl_url ? "/crl/%KEY_ID%.crl\n" : "");
}

/* Opening the store makes it. */
static int32_t make_store(const struct plan *plan)
{
    char config[LONGEST_PATH + 16];
    cvm_t *cvm = NULL;
    cvm_conf_t *conf = cvm_conf_new();
    (void)snprintf(config, sizeof config, "%s/cvm.conf", plan->absolute);
    /* Not the environment: it may name another store, and another CA. */
    int32_t code =
        conf ? cli_error(NULL, cvm_conf_load(conf, config)) : cli_fail(EX_OSERR, "out of memory");
    if (!code)
        code = cli_open_new(conf, &cvm);
    cli_close(cvm);
    cvm_conf_free(conf);
    return code;
}

/* --- The verb --------------------------------------------------------------------------------- */

static void print_next(const struct plan *plan)
{
    (void)printf("A new instance is in %s. Next:\n"
                 "\n"
                 "  cvm device import FACTORY.csv -c %s/cvm.conf\n"
                 "  cvm serve -c %s/cvm.conf\n"
                 "  mosquitto -c %s/mosquitto/mosquitto.conf\n"
                 "\n"
                 "Devices trust %s/ca/root.pem.\n"
                 "Move the root's private key off this machine; nothing but `init` needs it:\n"
                 "\n"
                 "  %s\n",
        plan->folder, plan->folder, plan->folder, plan->folder, plan->folder, plan->root_key);
}

/* Paths are written into files of lines. */
static int32_t is_one_line(const char *text)
{
    for (; *text; text++)
        if (iscntrl((unsigned char)*text))
            return 0;
    return 1;
}

/* Before anything is made: a second try would find a folder that is not empty. */
static int32_t check_arguments(struct plan *plan)
{
    const char *endpoint = plan->endpoint ? plan->endpoint : "localhost";
    if (!is_one_line(plan->folder))
        return cli_fail(EX_USAGE, "the folder's name holds a control character");
    if (cvm_endpoint_parse(endpoint, MQTT_PORT, &plan->broker))
        return cli_fail(EX_USAGE,
            "--endpoint takes HOST or HOST:PORT, a DNS name or an address, not '%s'", endpoint);
    if (plan->crl_url &&
        (!cvm_local_is_url(plan->crl_url, LONGEST_URL) || strchr(plan->crl_url, '%')))
        return cli_fail(EX_USAGE,
            "--crl-url takes a URL (http: or https:) of at most %d bytes, not '%.80s'", LONGEST_URL,
            plan->crl_url);
    for (uint32_t i = 0; i < plan->hosts.count; i++)
        if (!cvm_local_is_server_name(plan->hosts.values[i]))
            return cli_fail(
                EX_USAGE, "--host takes a DNS name or an address, not '%s'", plan->hosts.values[i]);
    return 0;
}

static int32_t make_instance(struct plan *plan)
{
    int32_t code = check_arguments(plan);
    if (!code && plan->passphrase_file)
        code = cli_read_secret(plan->passphrase_file, &plan->passphrase, &plan->passphrase_length);
    if (!code)
        code = claim_folder(plan);
    if (!code)
        code = make_folders(plan);
    if (!code)
        code = make_ca(plan);
    if (!code)
        code = make_server(plan, "tls", NULL, -1);
    if (!code)
        code = make_broker(plan);
    if (!code)
        code = write_configuration(plan);
    if (!code)
        code = make_store(plan);
    if (code)
        remove_all(plan);
    return code;
}

int32_t cli_init(int argc, char **argv)
{
    struct plan plan = {.folder = NULL};
    struct cli_list operands = {.count = 0};
    const struct cli_option options[] = {{"--endpoint", 1, &plan.endpoint, NULL, NULL},
        {"--host", 1, NULL, NULL, &plan.hosts},
        {"--root-key-out", 1, &plan.root_key_out, NULL, NULL},
        {"--root-passphrase-file", 1, &plan.passphrase_file, NULL, NULL},
        {"--crl-url", 1, &plan.crl_url, NULL, NULL}, {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, USAGE, 1, 1, &operands);
    if (code)
        return code;
    plan.folder = operands.values[0];
    code = make_instance(&plan);
    cli_forget(plan.passphrase, plan.passphrase_length);
    if (!code)
        print_next(&plan);
    return code;
}
