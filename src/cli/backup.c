/* `cvm backup`: a consistent copy of the file store. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cli.h"
#include "file/file.h"

static const char USAGE[] = "usage: cvm backup FILE [--json] -c CONFIG\n"
                            "Copies the file store to a new FILE, also while the server runs.\n";

static int32_t print_done(const char *store, const char *to, int32_t json)
{
    cJSON *object = json ? cJSON_CreateObject() : NULL;
    if (!json) {
        (void)printf("%s is a copy of %s\n", to, store);
        return 0;
    }
    if (cli_json_text(object, "backup", to) || cli_json_text(object, "store", store)) {
        cJSON_Delete(object);
        object = NULL;
    }
    return cli_print_json(object);
}

static int32_t copy_store(const cvm_conf_t *conf, const char *to, int32_t json)
{
    char why[300] = "";
    const char *store = cvm_conf_get(conf, "store");
    if (strncmp(store, "file:", 5) != 0)
        return cli_fail(EX_CONFIG, "only a file store is backed up here; this one is %.*s",
            (int)strcspn(store, ":"), store); /* the rest may hold a password */
    enum cli_store found = cli_look_for_store(conf);
    if (found == CLI_STORE_MISSING)
        return cli_fail(
            EX_CONFIG, "store: %s: %s; is it the right path?", store + 5, strerror(ENOENT));
    if (found == CLI_STORE_WRONG)
        return EX_CONFIG;
    if (cvm_file_backup(store + 5, to, why, sizeof why))
        return cli_fail(EX_UNAVAILABLE, "%s", why);
    return print_done(store + 5, to, json);
}

int32_t cli_backup(int argc, char **argv)
{
    const char *config = NULL;
    int32_t json = 0;
    cvm_conf_t *conf = NULL;
    struct cli_list operands = {.count = 0}, settings = {.count = 0};
    const struct cli_option options[] = {{"--config", 1, &config, NULL, NULL},
        {"--set", 1, NULL, NULL, &settings}, {"--json", 0, NULL, &json, NULL},
        {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, USAGE, 1, 1, &operands);
    if (!code)
        code = cli_configure(config, &settings, &conf);
    if (code)
        return code;
    code = copy_store(conf, operands.values[0], json);
    cvm_conf_free(conf);
    return code;
}
