/* `cvm backup`: a consistent copy of the file store. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "file/file.h"

static const char USAGE[] = "usage: cvm backup FILE -c CONFIG\n"
                            "Copies the file store to a new FILE, also while the server runs.\n";

int32_t cli_backup(int argc, char **argv)
{
    const char *config = NULL;
    char why[300] = "";
    cvm_conf_t *conf = NULL;
    struct cli_list operands = {.count = 0}, settings = {.count = 0};
    const struct cli_option options[] = {{"--config", 1, &config, NULL, NULL},
        {"--set", 1, NULL, NULL, &settings}, {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, USAGE, 1, 1, &operands);
    if (!code)
        code = cli_configure(config, &settings, &conf);
    if (code)
        return code;
    const char *store = cvm_conf_get(conf, "store");
    if (strncmp(store, "file:", 5) != 0)
        code = cli_fail(EX_CONFIG, "only a file store is backed up here; this one is %s", store);
    else if (cvm_file_backup(store + 5, operands.values[0], why, sizeof why))
        code = cli_fail(EX_UNAVAILABLE, "%s", why);
    cvm_conf_free(conf);
    return code;
}
