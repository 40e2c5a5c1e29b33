/* `cvm restore`: a backup in place of the file store, without the log of what was there. What
 * crl.pem lists for good stays revoked, whatever the backup knows of it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cli.h"
#include "file/file.h"
#include "local/local.h"

#define ERROR_SIZE 512

static const char USAGE[] = "usage: cvm restore FILE [--json] -c CONFIG\n"
                            "\n"
                            "Puts the backup FILE in place of the store. Stop the server first: "
                            "beside it, or beside another\n"
                            "command, nothing is done (exit 75). The store that was there is kept "
                            "under a dated name. After a\n"
                            "crash in the middle, run it again.\n"
                            "\n"
                            "What ca/crl.pem lists for good is revoked in the store too. What was "
                            "registered since the backup\n"
                            "is not in it: those devices can register a second time.\n";

/* What crl.pem lists: for good, or on hold. */
struct list {
    const char *folder; /* the CA's; NULL on another platform */
    struct cvm_listed *entries;
    uint32_t count, room;
};

static int32_t add(void *argument, const struct cvm_listed *entry)
{
    struct list *list = argument;
    if (list->count == list->room) {
        uint32_t room = list->room ? 2 * list->room : 256;
        struct cvm_listed *more = realloc(list->entries, room * sizeof *more);
        if (!more)
            return -1;
        list->entries = more;
        list->room = room;
    }
    list->entries[list->count++] = *entry;
    return 0;
}

static int32_t get_listed(
    void *argument, struct cvm_file_restore *restore, char *error, size_t error_size)
{
    struct list *list = argument;
    char why[ERROR_SIZE] = "";
    if (list->folder && cvm_local_crl_listed(list->folder, add, list, why, sizeof why)) {
        (void)snprintf(error, error_size,
            "%.300s; what it lists would be forgotten (to do without it, move it away)", why);
        return -1;
    }
    restore->listed = list->entries;
    restore->listed_count = list->count;
    return 0;
}

static int32_t print_json(const struct cvm_file_restore *restore, const char *store)
{
    cJSON *object = cJSON_CreateObject();
    if (cli_json_text(object, "restored", restore->backup) ||
        cli_json_text(object, "store", store) ||
        cli_json_text(object, "replaced", *restore->replaced ? restore->replaced : NULL) ||
        !cJSON_AddNumberToObject(object, "revoked", restore->revoked) ||
        !cJSON_AddNumberToObject(object, "kept_by_serial", restore->kept)) {
        cJSON_Delete(object);
        object = NULL;
    }
    return cli_print_json(object);
}

static int32_t print_report(const struct cvm_file_restore *restore, const char *store, int32_t json)
{
    if (json)
        return print_json(restore, store);
    (void)printf("%s is %s now\n", store, restore->backup);
    if (*restore->replaced)
        (void)printf("what was there is kept as %s\n", restore->replaced);
    (void)printf(
        "of what crl.pem lists for good, %" PRIu32 " certificates that the backup took for "
        "valid are revoked, and %" PRIu32 " that it does not know stay listed\n"
        "devices that were registered since the backup can register a second time; what was "
        "disabled since is enabled again\n",
        restore->revoked, restore->kept);
    return 0;
}

static int32_t restore_store(const cvm_conf_t *conf, const char *backup, int32_t json)
{
    char why[ERROR_SIZE] = "";
    struct list list = {.folder = cli_ca_folder(conf)};
    struct cvm_file_restore restore = {
        .backup = backup, .get_listed = get_listed, .argument = &list};
    const char *store = cli_file_store(conf);
    if (!store)
        return EX_CONFIG;
    int32_t code = cli_answer_code(cvm_file_restore(store, &restore, why, sizeof why));
    free(list.entries);
    return code ? cli_fail(code, "%s", why) : print_report(&restore, store, json);
}

int32_t cli_restore(int argc, char **argv)
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
    if (!code)
        code = restore_store(conf, operands.values[0], json);
    cvm_conf_free(conf);
    return code;
}
