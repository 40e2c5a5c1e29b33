/* `cvm serve --check-config`: opens all that the server would, and leaves all as it is. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "cli.h"
#include "interrupt.h"
#include "local/local.h"

#define LONGEST_PATH 4096
#define ERROR_SIZE   512

struct looked {
    int32_t is_done, is_empty;
};

/* A folder for what is made for the occasion, once something is; "" before. */
struct workshop {
    char folder[LONGEST_PATH];
};

static int32_t open_workshop(struct workshop *workshop)
{
    const char *where = getenv("TMPDIR");
    char name[LONGEST_PATH];
    if (*workshop->folder)
        return 0;
    (void)snprintf(name, sizeof name, "%.3000s/cvm-check.XXXXXX", where && *where ? where : "/tmp");
    if (!mkdtemp(name))
        return cli_fail(EX_CANTCREAT, "%s: %s", name, strerror(errno));
    memcpy(workshop->folder, name, sizeof name);
    return 0;
}

/* The file's folder, which a new file needs. 0 if one can be made there. */
static int32_t can_make(const char *path)
{
    char folder[LONGEST_PATH];
    const char *slash = strrchr(path, '/');
    (void)snprintf(
        folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    return access(folder, W_OK | X_OK) ? -1 : 0;
}

/* --- What a check leaves alone ---------------------------------------------------------------- */

/* A log is not made here: whoever makes it owns it, and that should be the server's user. */
static int32_t check_log(cvm_conf_t *conf, const char *name)
{
    const char *path = cvm_conf_get(conf, name);
    if (*path && access(path, W_OK) && (errno != ENOENT || can_make(path)))
        return cli_fail(EX_CONFIG, "%s: %s can't be written: %s", name, path, strerror(errno));
    return cli_error(name, cvm_conf_set(conf, name, ""));
}

/* A server that runs has the ports. */
static int32_t stand_aside(cvm_conf_t *conf)
{
    static const char *const LISTENERS[] = {"http.listen", "ca.listen", "ops.listen"};
    int32_t code = 0;
    for (size_t i = 0; i < sizeof LISTENERS / sizeof LISTENERS[0] && !code; i++)
        if (strcmp(cvm_conf_get(conf, LISTENERS[i]), "off") != 0)
            code = cli_error(LISTENERS[i], cvm_conf_set(conf, LISTENERS[i], "127.0.0.1:0"));
    return code;
}

/* --- A store for the occasion ----------------------------------------------------------------- */

/* Removes a folder that is all ours, and has no others in it. */
static void remove_folder(const char *path)
{
    char name[LONGEST_PATH];
    DIR *folder = opendir(path);
    for (const struct dirent *entry; folder && (entry = readdir(folder));) {
        (void)snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        (void)unlink(name); /* not "." and ".." */
    }
    if (folder)
        (void)closedir(folder);
    (void)rmdir(path);
}

/* Sets a store or a platform in the folder. */
static int32_t set_place(
    cvm_conf_t *conf, const char *name, const char *kind, const char *folder, const char *file)
{
    char place[LONGEST_PATH];
    (void)snprintf(place, sizeof place, "%s:%s%s", kind, folder, file);
    return cli_error(name, cvm_conf_set(conf, name, place));
}

/* Makes an empty store in the folder, by a server on a CA of its own: one on the configuration's
 * would publish a CRL from a store that knows of nothing. */
static int32_t make_store(const char *folder)
{
    char root_key[LONGEST_PATH], why[ERROR_SIZE];
    cvm_t *cvm = NULL;
    cvm_conf_t *conf = cvm_conf_new();
    if (!conf)
        return cli_fail(EX_OSERR, "out of memory");
    (void)snprintf(root_key, sizeof root_key, "%s/root.key", folder);
    int32_t code = 0;
    if (cvm_local_init(folder, root_key, NULL, NULL, why, sizeof why))
        code = cli_fail(EX_CANTCREAT, "%s", why);
    if (!code)
        code = set_place(conf, "store", "file", folder, "/devices.db");
    if (!code)
        code = set_place(conf, "platform", "local", folder, "");
    if (!code)
        code = cli_open_new(conf, &cvm);
    cli_close(cvm);
    cvm_conf_free(conf);
    return code;
}

/* --- Certificates that serve makes anew ------------------------------------------------------- */

/* A copy of the file in folder; to receives its path. 0 or an exit code. */
static int32_t copy_into(const char *folder, const char *from, char to[LONGEST_PATH])
{
    char why[ERROR_SIZE];
    size_t length;
    (void)snprintf(to, LONGEST_PATH, "%s/server.pem", folder);
    char *pem = cvm_files_read(from, &length, why, sizeof why);
    int32_t failed = !pem || cvm_files_replace(to, pem, length, 0600, (gid_t)-1, why, sizeof why);
    free(pem);
    return failed ? cli_fail(EX_CONFIG, "%s", why) : 0;
}

/* Our CA's certificate of a server that is over is renewed when serve starts: what is opened here
 * is a copy that was renewed. */
static int32_t stand_in_for_certificate(cvm_conf_t *conf, struct workshop *workshop)
{
    char copy[LONGEST_PATH], why[ERROR_SIZE];
    const char *certificate = cvm_conf_get(conf, "http.tls_certificate");
    const char *ca = cli_ca_folder(conf);
    if (!*certificate || !ca || !cvm_local_server_is_due(ca, certificate))
        return 0;
    (void)cli_fail(
        0, "warning: %s ends soon, or is over: serve renews it when it starts", certificate);
    int32_t code = open_workshop(workshop);
    if (!code)
        code = copy_into(workshop->folder, certificate, copy);
    if (code)
        return code;
    if (cvm_local_renew_server(
            ca, copy, cvm_conf_get(conf, "http.tls_private_key"), 0, why, sizeof why) < 0)
        return 0; /* the clock, or the key: what is opened says so */
    return cli_error("http.tls_certificate", cvm_conf_set(conf, "http.tls_certificate", copy));
}

/* --- Whether a registration would succeed ----------------------------------------------------- */

static void count_devices(void *user_data, const cvm_error_t *error,
    const cvm_device_t *const *devices, uint32_t count, const char *cursor)
{
    struct looked *looked = user_data;
    (void)devices;
    (void)cursor;
    looked->is_done = 1;
    looked->is_empty = !error && !count;
}

static int32_t is_store_empty(cvm_t *cvm)
{
    struct looked looked = {0, 0};
    cvm_error_t *error = cvm_device_list(cvm, NULL, 1, count_devices, &looked);
    if (!error)
        cli_run_until(cvm, &looked.is_done);
    cvm_error_free(error);
    return looked.is_empty;
}

/* What cvm_check() has answered; that there is no device is asked last of all, and no fault yet. */
struct verdict {
    int32_t is_done, is_empty, code;
};

static void check_judge(void *user_data, const cvm_error_t *error)
{
    struct verdict *verdict = user_data;
    verdict->is_done = 1;
    if (!error || !verdict->is_empty || strcmp(cvm_error_name(error), "store_unavailable") != 0)
        verdict->code = cli_report(NULL, error);
}

/* *is_empty receives whether there is no device yet. 0 or an exit code. */
static int32_t look_around(cvm_t *cvm, int32_t *is_empty)
{
    struct verdict verdict = {.is_empty = 0};
    cvm_error_t *error = cvm_check_clock(cvm);
    if (error) {
        (void)cli_error(NULL, error);
        return EX_TEMPFAIL;
    }
    *is_empty = verdict.is_empty = is_store_empty(cvm);
    error = cvm_check(cvm, check_judge, &verdict);
    if (error)
        return cli_error(NULL, error);
    cli_run_until(cvm, &verdict.is_done);
    return verdict.code;
}

/* --- The check -------------------------------------------------------------------------------- */

static int32_t listen_once(cvm_conf_t *conf, int32_t *is_empty)
{
    cvm_t *cvm = NULL;
    int32_t code = cli_open(conf, &cvm);
    if (!code)
        code = cli_error(NULL, cvm_listen(cvm));
    if (!code)
        code = look_around(cvm, is_empty);
    cli_close(cvm);
    return code;
}

/* The store that serve would make is made elsewhere. */
static int32_t check_without_store(cvm_conf_t *conf, struct workshop *workshop, int32_t *is_empty)
{
    const char *path = cvm_conf_get(conf, "store") + strlen("file:");
    if (!cvm_conf_number(conf, "store.create"))
        return cli_fail(EX_CONFIG,
            "store: %s: there is no store; is it the right path, is it mounted? `cvm serve "
            "--create-store` makes an empty one",
            path);
    if (can_make(path))
        return cli_fail(EX_CONFIG, "store: %s can't be made: %s", path, strerror(errno));
    (void)cli_fail(
        0, "warning: there is no store at %s: serve would make an empty one there", path);
    int32_t code = open_workshop(workshop);
    if (!code)
        code = make_store(workshop->folder);
    if (!code)
        code = set_place(conf, "store", "file", workshop->folder, "/devices.db");
    return code ? code : listen_once(conf, is_empty);
}

static int32_t check_all(cvm_conf_t *conf, struct workshop *workshop, int32_t *is_empty)
{
    int32_t code = stand_aside(conf);
    if (!code)
        code = check_log(conf, "log.file");
    if (!code)
        code = check_log(conf, "audit.file");
    if (!code)
        code = stand_in_for_certificate(conf, workshop);
    if (code)
        return code;
    switch (cli_look_for_store(conf)) {
    case CLI_STORE_WRONG:
        return EX_CONFIG;
    case CLI_STORE_MISSING:
        return check_without_store(conf, workshop, is_empty);
    default:
        return listen_once(conf, is_empty);
    }
}

int32_t cli_check_config(const char *path, cvm_conf_t *conf)
{
    struct workshop workshop = {.folder = ""};
    interrupt_catch(); /* it may have to clean up */
    int32_t is_empty = 0;
    int32_t code = check_all(conf, &workshop, &is_empty);
    if (*workshop.folder)
        remove_folder(workshop.folder);
    if (!code && is_empty)
        (void)cli_fail(0, "warning: there is no device in the store: every registration is told to "
                          "come later");
    if (!code)
        (void)printf("%s is fine%s\n", path, is_empty ? ", once devices are imported" : "");
    return code;
}
