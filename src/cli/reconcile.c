/* `cvm reconcile`: what is due is carried out now. */
#include <stdio.h>

#include <cjson/cJSON.h>

#include "cli.h"

static const char USAGE[] =
    "usage: cvm reconcile [--full] [--dry-run] [--json] -c CONFIG\n"
    "\n"
    "Carries out what the records say is due: retirements, suspensions, leases whose owners are "
    "gone.\n"
    "A server does so by itself, each reconcile.interval.\n"
    "\n"
    "  --full             asks the platform of every device too which certificates hang on its\n"
    "                     thing, and writes down those that another system made\n"
    "  --dry-run          only counts\n"
    "  -c CONFIG          the instance's configuration\n"
    "  --json             one JSON object\n"
    "  --set NAME=VALUE   set a property\n";

struct work {
    int32_t is_done, code;
    uint64_t leases, retirements, suspensions, found;
};

static void end_call(struct work *work, const cvm_error_t *error)
{
    work->is_done = 1;
    if (error)
        work->code = cli_report(NULL, error);
}

static void counted(void *user_data, const cvm_error_t *error, uint64_t leases,
    uint64_t retirements, uint64_t suspensions)
{
    struct work *work = user_data;
    work->leases = leases;
    work->retirements = retirements;
    work->suspensions = suspensions;
    end_call(work, error);
}

static void found(void *user_data, const cvm_error_t *error, uint64_t count)
{
    struct work *work = user_data;
    work->found = count;
    end_call(work, error);
}

static void carried_out(void *user_data, const cvm_error_t *error)
{
    end_call(user_data, error);
}

/* Waits for a call that was started. Its exit code. */
static int32_t wait_for(cvm_t *cvm, struct work *work, cvm_error_t *error)
{
    int32_t code = error ? cli_error(NULL, error) : 0;
    if (!error)
        cli_run_until(cvm, &work->is_done);
    code = code ? code : work->code;
    work->is_done = work->code = 0;
    return code;
}

static int32_t reconcile_print(const struct work *work, int32_t full, int32_t dry_run, int32_t json)
{
    if (!json) {
        (void)printf("%s: %llu retirements, %llu suspensions, %llu leases\n",
            dry_run ? "due" : "carried out", (unsigned long long)work->retirements,
            (unsigned long long)work->suspensions, (unsigned long long)work->leases);
        if (full)
            (void)printf("%s: %llu certificates of other systems\n",
                dry_run ? "found" : "written down", (unsigned long long)work->found);
        return 0;
    }
    cJSON *object = cJSON_CreateObject();
    if (!cJSON_AddBoolToObject(object, "dry_run", dry_run) ||
        !cJSON_AddNumberToObject(object, "retirements", (double)work->retirements) ||
        !cJSON_AddNumberToObject(object, "suspensions", (double)work->suspensions) ||
        !cJSON_AddNumberToObject(object, "leases", (double)work->leases) ||
        (full && !cJSON_AddNumberToObject(object, "found", (double)work->found))) {
        cJSON_Delete(object);
        object = NULL;
    }
    return cli_print_json(object);
}

/* What is found may be due at once: it comes first. What can't be found does not keep what is due
 * from being carried out. */
static int32_t reconcile_run(cvm_t *cvm, int32_t full, int32_t dry_run, int32_t json)
{
    struct work work = {0};
    int32_t code = full ? wait_for(cvm, &work, cvm_find_unknown(cvm, dry_run, found, &work)) : 0;
    int32_t failed = wait_for(cvm, &work, cvm_due(cvm, counted, &work));
    if (!failed && !dry_run)
        failed = wait_for(cvm, &work, cvm_reconcile(cvm, carried_out, &work));
    if (!failed)
        failed = reconcile_print(&work, full, dry_run, json);
    return code ? code : failed;
}

int32_t cli_reconcile(int argc, char **argv)
{
    const char *config = NULL;
    int32_t full = 0, dry_run = 0, json = 0;
    cvm_conf_t *conf = NULL;
    cvm_t *cvm = NULL;
    struct cli_list settings = {.count = 0}, operands = {.count = 0};
    const struct cli_option options[] = {{"--config", 1, &config, NULL, NULL},
        {"--set", 1, NULL, NULL, &settings}, {"--full", 0, NULL, &full, NULL},
        {"--dry-run", 0, NULL, &dry_run, NULL}, {"--json", 0, NULL, &json, NULL},
        {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, USAGE, 0, 0, &operands);
    if (!code)
        code = cli_configure(config, &settings, &conf);
    if (!code)
        code = cli_open(conf, &cvm);
    if (!code)
        code = reconcile_run(cvm, full, dry_run, json);
    cli_close(cvm);
    cvm_conf_free(conf);
    return code;
}
