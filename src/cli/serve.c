/* `cvm serve`: the server. Signals are read from a descriptor beside the instance's own. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "local/local.h"
#include "signals.h"

#define RENEWAL_CHECK_MS                                                                           \
    60000 /* a clock that was mended may have left one that is not valid now                       \
           */
#define RENEWAL_RETRY_MS (INT64_C(3600) * 1000)
#define LONGEST_PATH     4096
#define ERROR_SIZE       512

static const char USAGE[] = "usage: cvm serve -c CONFIG [--create-store] [--set name=value]...\n"
                            "                 [--check-config]\n"
                            "\n"
                            "Serves registration. Prints one line for each listener with the "
                            "address really bound. SIGTERM\n"
                            "and SIGINT drain and stop; SIGHUP reloads certificates, CRL and log "
                            "files.\n"
                            "  --create-store  makes an empty store where there is none\n"
                            "  --check-config  opens everything on ports of its own, changes "
                            "nothing, and exits\n";

struct server {
    cvm_t *cvm;
    cvm_conf_t *conf;
    int signals;
    int64_t next_check_ms;
    int32_t must_stop, is_listening;
    struct cli_outcome stopped;
};

/* --- The server's own certificates ------------------------------------------------------------ */

/* 1 if the certificate was renewed; -1 if it could not be. */
static int32_t renew(const char *folder, const char *certificate, const char *key)
{
    char why[ERROR_SIZE];
    if (!*certificate || access(certificate, F_OK))
        return 0;
    int32_t renewed = cvm_local_renew_server(folder, certificate, key, 0, why, sizeof why);
    if (renewed < 0)
        (void)cli_fail(0, "%s could not be renewed: %s", certificate, why);
    else if (renewed)
        (void)fprintf(stderr, "cvm: %s is renewed\n", certificate);
    return renewed;
}

static void reloaded(void *user_data, const cvm_error_t *error)
{
    (void)user_data;
    if (error)
        (void)cli_fail(0, "reload: %s", cvm_error_text(error));
}

static void reload(struct server *server)
{
    (void)cli_error("reload", cvm_reload(server->cvm, reloaded, NULL));
}

/* Renews the server's certificate and the broker's, which init put beside the CA; not by a clock
 * that is wrong. */
static void renew_certificates(struct server *server)
{
    const char *folder = cli_ca_folder(server->conf);
    char certificate[LONGEST_PATH], key[LONGEST_PATH];
    cvm_error_t *doubt = cvm_check_clock(server->cvm);
    int32_t must_wait = !folder || doubt;
    cvm_error_free(doubt);
    server->next_check_ms = cli_now_ms() + RENEWAL_CHECK_MS;
    if (must_wait)
        return;
    cvm_local_path(folder, "mosquitto/server.pem", certificate, sizeof certificate);
    cvm_local_path(folder, "mosquitto/server.key", key, sizeof key);
    int32_t brokers = renew(folder, certificate, key);
    int32_t own = renew(folder, cvm_conf_get(server->conf, "http.tls_certificate"),
        cvm_conf_get(server->conf, "http.tls_private_key"));
    if (brokers < 0 || own < 0)
        server->next_check_ms = cli_now_ms() + RENEWAL_RETRY_MS;
    if (own > 0 && server->is_listening)
        reload(server);
}

static void warn_of_root_key(const cvm_conf_t *conf)
{
    char path[LONGEST_PATH];
    if (!cli_ca_folder(conf))
        return;
    (void)snprintf(path, sizeof path, "%s/offline/root.key", cli_ca_folder(conf));
    if (access(path, R_OK) == 0)
        (void)fprintf(stderr,
            "cvm: warning: %s is readable here; move the root's private key off this machine\n",
            path);
}

/* --- Signals ---------------------------------------------------------------------------------- */

static void take_signals(struct server *server)
{
    for (int number; (number = signals_next());) {
        if (number == SIGHUP) {
            server->next_check_ms = 0;
            reload(server);
        } else {
            server->must_stop = 1;
            cvm_error_free(
                cvm_stop(server->cvm, cli_done, &server->stopped)); /* it may stop already */
            signals_leave(); /* who sends a second one wants an end at once */
        }
    }
}

/* --- Running ---------------------------------------------------------------------------------- */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void print_listeners(const cvm_t *cvm)
{
    for (uint32_t i = 0; cvm_listener(cvm, i); i++)
        (void)printf("listening %s\n", cvm_listener(cvm, i));
    (void)fflush(stdout);
}

static int wait_ms(const struct server *server)
{
    if (!server->is_listening)
        return cvm_timeout_ms(server->cvm);
    int64_t left_ms = server->next_check_ms - cli_now_ms();
    return cli_least_ms(cvm_timeout_ms(server->cvm), left_ms > 0 ? left_ms : 0);
}

static void run_until(struct server *server, const int32_t *is_done)
{
    while (!*is_done) {
        struct pollfd ready[] = {{cvm_fd(server->cvm), POLLIN, 0}, {server->signals, POLLIN, 0}};
        (void)poll(ready, 2, wait_ms(server));
        if (ready[1].revents)
            take_signals(server);
        if (server->is_listening && cli_now_ms() >= server->next_check_ms)
            renew_certificates(server);
        cvm_error_free(cvm_process(server->cvm));
    }
}

/* Starts and listens, unless it is told to stop meanwhile. 0 or an exit code. */
static int32_t start(struct server *server)
{
    struct cli_outcome started = {0};
    cvm_error_t *error = cvm_new(server->conf, &server->cvm);
    if (!error)
        error = cli_set_actor(server->cvm);
    if (!error)
        error = cvm_start(server->cvm, cli_done, &started);
    if (!error) {
        run_until(server, &started.is_done);
        if (started.code || server->must_stop)
            return server->must_stop ? 0 : started.code;
        renew_certificates(server); /* the store judges the clock by which that is done */
        error = cvm_listen(server->cvm);
        server->is_listening = !error;
    }
    return cli_error(NULL, error);
}

static int32_t serve(struct server *server)
{
    server->signals = signals_open();
    raise_descriptor_limit();
    warn_of_root_key(server->conf);
    int32_t code = start(server);
    if (!code) {
        print_listeners(server->cvm);
        run_until(server, &server->stopped.is_done);
        code = server->stopped.code;
    }
    cvm_free(server->cvm);
    signals_close();
    return code;
}

int32_t cli_serve(int argc, char **argv)
{
    const char *config = NULL;
    int32_t check = 0, create = 0;
    struct server server = {.signals = -1};
    struct cli_list operands = {.count = 0}, settings = {.count = 0};
    const struct cli_option options[] = {{"--config", 1, &config, NULL, NULL},
        {"--set", 1, NULL, NULL, &settings}, {"--check-config", 0, NULL, &check, NULL},
        {"--create-store", 0, NULL, &create, NULL}, {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, USAGE, 0, 0, &operands);
    if (!code)
        code = cli_configure(config, &settings, &server.conf);
    if (code)
        return code;
    if (create)
        cvm_error_free(cvm_conf_set(server.conf, "store.create", "true"));
    if (check) {
        warn_of_root_key(server.conf);
        code = cli_check_config(config, server.conf);
    } else {
        code = serve(&server);
    }
    cvm_conf_free(server.conf);
    return code;
}
