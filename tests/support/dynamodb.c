/* The server is a script's, which the system tests use as well. */
#include "support/dynamodb.h"

#include <unistd.h>

static char folder[64], url[64], table[32];

static int server(const char *action)
{
    char command[256];
    (void)snprintf(command, sizeof command, "%s/dynamodb %s", SUPPORT_FOLDER, action);
    return system(command) == 0 ? 0 : -1; /* NOLINT(cert-env33-c): a test's own words */
}

static int server_in_folder(const char *action)
{
    char command[128];
    (void)snprintf(command, sizeof command, "%s %s", action, folder);
    return server(command);
}

static int read_url(void)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/url", folder);
    FILE *file = fopen(path, "r");
    int is_read = file && fgets(url, sizeof url, file);
    if (file)
        (void)fclose(file);
    url[strcspn(url, "\n")] = 0;
    return is_read ? 0 : -1;
}

int dynamodb_start(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/cvm-dynamodb-XXXXXX");
    if (!mkdtemp(folder) || server_in_folder("start") || read_url() ||
        setenv("AWS_ACCESS_KEY_ID", "test", 1) || setenv("AWS_SECRET_ACCESS_KEY", "test", 1) ||
        setenv("AWS_REGION", "eu-central-1", 1))
        return -1;
    char command[128];
    (void)snprintf(command, sizeof command, "stop-after %s %d", folder, (int)getpid());
    return server(command);
}

int dynamodb_stop(void **state)
{
    char command[96];
    (void)state;
    int failed = server_in_folder("stop");
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return failed | system(command); /* NOLINT(cert-env33-c) */
}

const char *dynamodb_location(void)
{
    return table;
}

const struct setting *dynamodb_settings(int is_new)
{
    static struct setting settings[] = {{"module.path", OWN_MODULES}, {"store", NULL},
        {"aws.endpoint_dynamodb", url}, {"store.plain_tokens", "false"}, {"role", "server"},
        {NULL, NULL}};
    static char store[48], command[256];
    static int number;
    number += is_new;
    (void)snprintf(table, sizeof table, "test_%d", number);
    (void)snprintf(store, sizeof store, "dynamodb:%s", table);
    settings[1].value = store;
    (void)snprintf(
        command, sizeof command, "%s/dynamodb_tables.py %s %s", SUPPORT_FOLDER, url, table);
    if (is_new)
        assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    return settings;
}
