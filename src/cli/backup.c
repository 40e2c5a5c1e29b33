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
    const char *store = cli_file_store(conf);
    if (!store)
        return EX_CONFIG;
    enum cli_store found = cli_look_for_store(conf);
    if (found == CLI_STORE_MISSING)
        return cli_fail_missing_store(conf);
    if (found == CLI_STORE_WRONG)
        return EX_CONFIG;
    int32_t code = cli_answer_code(cvm_file_backup(store, to, why, sizeof why));
    if (code)
        return cli_fail(code, "%s", why);
    return print_done(store, to, json);
}

int32_t cli_backup(int argc, char **argv)
{
    return cli_run_with_file(argc, argv, USAGE, copy_store);
}
