/* `cvm store`: makes its tables, looks for damage, and accepts the clock after one that was ahead.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/clock.h"
#include "cli.h"
#include "file/file.h"
#include "store_copy.h"

#define ERROR_SIZE 512

static const char USAGE[] =
    "usage: cvm store create|migrate [--print] -c CONFIG\n"
    "                                   makes the tables of a store that has some, or brings them "
    "up "
    "to\n"
    "                                   this release; --print: only says by which statements\n"
    "       cvm store check [--json] -c CONFIG\n"
    "                                   looks for damage, beside a server too; exit 65 if there is "
    "some;\n"
    "                                   of DynamoDB: whether both tables say the same\n"
    "       cvm store clock [--accept] [--json] -c CONFIG\n"
    "                                   the latest time on record, before which no clock is "
    "believed;\n"
    "                                   --accept: it is now, after a clock that was ahead\n"
    "       cvm store copy FROM TO [--finish] -c CONFIG\n"
    "                                   moves a store into another one, beside its servers\n"
    "       cvm store thaw -c CONFIG\n"
    "                                   lets the servers of a frozen store write again\n";

struct arguments {
    const char *config;
    int32_t json, accept, print;
    struct cli_list settings, operands;
};

/* --- check ------------------------------------------------------------------------------------ */

struct findings {
    int32_t json;
    uint32_t count;
};

static void print_finding(void *argument, const char *line)
{
    struct findings *findings = argument;
    findings->count++;
    if (!findings->json) {
        (void)puts(line);
        return;
    }
    cJSON *object = cJSON_CreateObject();
    if (cli_json_text(object, "damage", line)) {
        cJSON_Delete(object);
        object = NULL;
    }
    (void)cli_print_json(object);
}

static int32_t check_file(const struct arguments *arguments, const char *store)
{
    char why[ERROR_SIZE] = "";
    struct findings findings = {arguments->json, 0};
    cvm_answer_t answer = cvm_file_check(store, print_finding, &findings, why, sizeof why);
    if (answer != CVM_ANSWER_OK)
        return cli_fail(cli_answer_code(answer), "%s", why);
    if (findings.count)
        return cli_fail(
            EX_DATAERR, "%s is damaged: put a backup in place with `cvm restore`", store);
    if (!arguments->json)
        (void)printf("%s has no damage\n", store);
    return 0;
}

struct checking {
    struct findings findings;
    int32_t is_done, code;
};

static void print_found(void *user_data, const char *line)
{
    print_finding(&((struct checking *)user_data)->findings, line);
}

static void check_done(void *user_data, const cvm_error_t *error)
{
    struct checking *checking = user_data;
    checking->is_done = 1;
    checking->code = error ? cli_report(NULL, error) : 0;
}

static int32_t check_rows(const struct arguments *arguments, cvm_conf_t *conf)
{
    cvm_t *cvm = NULL;
    struct checking checking = {.findings = {arguments->json, 0}};
    int32_t code = cli_open(conf, &cvm);
    if (!code) {
        cvm_error_t *error = cvm_store_check(cvm, print_found, check_done, &checking);
        code = error ? cli_error(NULL, error) : 0;
        if (!error)
            cli_run_until(cvm, &checking.is_done);
    }
    cli_close(cvm);
    if (code || checking.code)
        return code ? code : checking.code;
    if (checking.findings.count)
        return cli_fail(
            EX_DATAERR, "the store's rows don't go together: was a part of it restored?");
    if (!arguments->json)
        (void)puts("the store has no damage");
    return 0;
}

/* --- clock ------------------------------------------------------------------------------------ */

static int32_t print_clock_json(
    const struct cvm_file_clock *clock, int64_t now_ms, int32_t accepted)
{
    char mark[CVM_RFC3339_SIZE], now[CVM_RFC3339_SIZE];
    cJSON *object = cJSON_CreateObject();
    if (cli_json_text(object, "mark", clock->mark_ms ? cvm_rfc3339(clock->mark_ms, mark) : NULL) ||
        cli_json_text(object, "now", cvm_rfc3339(now_ms, now)) ||
        !cJSON_AddNumberToObject(object, "begin_in_the_future", (double)clock->future) ||
        !cJSON_AddBoolToObject(object, "accepted", accepted)) {
        cJSON_Delete(object);
        object = NULL;
    }
    return cli_print_json(object);
}

static int32_t show_clock(const struct arguments *arguments, const char *store)
{
    char why[ERROR_SIZE] = "", text[CVM_RFC3339_SIZE];
    struct cvm_file_clock clock = {0, 0};
    int64_t now_ms = cvm_now_ms();
    int32_t code =
        cli_answer_code(cvm_file_clock(store, now_ms, arguments->accept, &clock, why, sizeof why));
    if (code)
        return cli_fail(code, "%s", why);
    if (arguments->json)
        return print_clock_json(&clock, now_ms, arguments->accept);
    (void)printf("latest time on record  %s\n",
        clock.mark_ms ? cvm_rfc3339(clock.mark_ms, text) : "none yet");
    (void)printf("the clock says         %s\n", cvm_rfc3339(now_ms, text));
    (void)printf("certificates that begin in the future: %" PRIu32 "%s\n", clock.future,
        clock.future ? " (a device that asks with the same key gets another one)" : "");
    if (arguments->accept)
        (void)puts("accepted: the latest time on record is what the clock says; a server follows "
                   "within seconds");
    return 0;
}

/* --- migrate ---------------------------------------------------------------------------------- */

static struct {
    cvm_done_cb callback;
    void *user_data;
} waiter;

static void migrated(void *user_data, const cvm_error_t *error, const char *text)
{
    (void)user_data;
    size_t length = strlen(text);
    if (length)
        (void)printf("%s%s", text, text[length - 1] == '\n' ? "" : "\n");
    waiter.callback(waiter.user_data, error);
}

static cvm_error_t *start_migration(
    cvm_t *cvm, int32_t print, cvm_done_cb callback, void *user_data)
{
    waiter.callback = callback;
    waiter.user_data = user_data;
    return cvm_store_migrate(cvm, print, migrated, NULL);
}

static cvm_error_t *start_to_migrate(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    return start_migration(cvm, 0, callback, user_data);
}

static cvm_error_t *start_to_print(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    return start_migration(cvm, 1, callback, user_data);
}

static int32_t migrate(const struct arguments *arguments)
{
    cvm_conf_t *conf = NULL;
    cvm_t *cvm = NULL;
    int32_t code = cli_configure(arguments->config, &arguments->settings, &conf);
    if (!code)
        code = cli_open_as(arguments->print ? start_to_print : start_to_migrate, conf, &cvm);
    cli_close(cvm);
    cvm_conf_free(conf);
    return code;
}

/* --- The verb --------------------------------------------------------------------------------- */

static int32_t run(const struct arguments *arguments,
    int32_t (*verb)(const struct arguments *arguments, const char *store))
{
    cvm_conf_t *conf = NULL;
    int32_t code = cli_configure(arguments->config, &arguments->settings, &conf);
    if (code)
        return code;
    const char *store = cli_file_store(conf);
    if (!store || cli_look_for_store(conf) == CLI_STORE_WRONG)
        code = EX_CONFIG;
    else if (cli_look_for_store(conf) == CLI_STORE_MISSING)
        code = cli_fail_missing_store(conf);
    else
        code = verb(arguments, store);
    cvm_conf_free(conf);
    return code;
}

static int32_t check(const struct arguments *arguments)
{
    cvm_conf_t *conf = NULL;
    int32_t code = cli_configure(arguments->config, &arguments->settings, &conf);
    int32_t is_file = !code && !cli_is_shared(conf);
    if (!code && !is_file)
        code = check_rows(arguments, conf);
    cvm_conf_free(conf);
    return code || !is_file ? code : run(arguments, check_file);
}

int32_t cli_store_verb(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    int32_t is_clock = strcmp(name, "clock") == 0,
            migrates = strcmp(name, "migrate") == 0 || strcmp(name, "create") == 0;
    struct arguments arguments = {.config = NULL};
    const struct cli_option options[] = {{"--config", 1, &arguments.config, NULL, NULL},
        {"--set", 1, NULL, NULL, &arguments.settings}, {"--json", 0, NULL, &arguments.json, NULL},
        {is_clock      ? "--accept"
            : migrates ? "--print"
                       : NULL,
            0, NULL, is_clock ? &arguments.accept : &arguments.print, NULL},
        {NULL, 0, NULL, NULL, NULL}};
    if (is_clock || migrates || strcmp(name, "check") == 0) {
        int32_t code = cli_parse(argc - 1, argv + 1, options, USAGE, 0, 0, &arguments.operands);
        if (!code)
            code = migrates   ? migrate(&arguments)
                   : is_clock ? run(&arguments, show_clock)
                              : check(&arguments);
        return code;
    }
    if (strcmp(name, "copy") == 0)
        return cli_store_copy(argc - 1, argv + 1);
    if (strcmp(name, "thaw") == 0)
        return cli_store_thaw(argc - 1, argv + 1);
    return cli_no_verb("store", name, USAGE);
}
