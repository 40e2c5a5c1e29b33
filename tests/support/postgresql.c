/* The server is a script's, which the system tests use as well. */
#include "support/postgresql.h"

#include <unistd.h>

static char folder[64];
static int has_pgbouncer;

static int server(const char *action)
{
    char command[256];
    (void)snprintf(command, sizeof command, "%s %s %s", POSTGRESQL_SERVER, action, folder);
    return system(command) == 0 ? 0 : -1; /* NOLINT(cert-env33-c): a test's own words */
}

int postgresql_start(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/cvm-postgresql-XXXXXX");
    if (!mkdtemp(folder) || server("start"))
        return -1;
    char command[256];
    (void)snprintf(
        command, sizeof command, POSTGRESQL_SERVER " stop-after %s %d", folder, (int)getpid());
    return system(command); /* NOLINT(cert-env33-c) */
}

int postgresql_stop(void **state)
{
    char command[96];
    (void)state;
    if (has_pgbouncer)
        (void)server("stop-pgbouncer");
    has_pgbouncer = 0;
    int failed = server("stop");
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return failed | system(command); /* NOLINT(cert-env33-c) */
}

const char *postgresql_folder(void)
{
    return folder;
}

const char *postgresql_location(void)
{
    static char location[128];
    (void)snprintf(location, sizeof location, "host=%s user=cvm dbname=postgres", folder);
    return location;
}

void postgresql_restart(void)
{
    assert_int_equal(server("stop"), 0);
    assert_int_equal(server("start"), 0);
}

void postgresql_freeze(int is_frozen)
{
    assert_int_equal(server(is_frozen ? "freeze" : "thaw"), 0);
}

static const struct setting *settings_of(int is_new, const char *socket, const char *is_pooled)
{
    static struct setting settings[] = {{"module.path", OWN_MODULES}, {"store", NULL},
        {"postgresql.schema", NULL}, {"postgresql.pgbouncer", NULL}, {"role", "server"},
        {"store.create", "on"}, {NULL, NULL}};
    static char store[160], schema[32];
    static int number;
    number += is_new;
    (void)snprintf(
        store, sizeof store, "postgresql:host=%s%s user=cvm dbname=postgres", folder, socket);
    (void)snprintf(schema, sizeof schema, "test_%d", number);
    settings[1].value = store;
    settings[2].value = schema;
    settings[3].value = is_pooled;
    return settings;
}

const struct setting *postgresql_settings(int is_new)
{
    return settings_of(is_new, "", "off");
}

const struct setting *postgresql_pooled_settings(int is_new)
{
    if (!has_pgbouncer)
        assert_int_equal(server("start-pgbouncer"), 0);
    has_pgbouncer = 1;
    return settings_of(is_new, "/pgbouncer", "on");
}
