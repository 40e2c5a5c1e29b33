/* `cvm device import`: its options and its report. The work's two halves are import_read.c and
 * import_write.c. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "import_check.h"
#include "import_read.h"
#include "import_sort.h"
#include "import_write.h"
#include "interrupt.h"
#include "progress.h"

/* About a million rows; more are sorted through a temporary file. */
#define SORT_MEMORY ((size_t)64 * 1024 * 1024)

#define MOST_BAD_LINES 20
#define MOST_CONFLICTS 100

static const char USAGE[] =
    "usage: cvm device import FILE -c CONFIG [option]…\n"
    "\n"
    "Adds the devices in FILE to the store, beside a running server if there is one.\n"
    "FILE is CSV whose first line names its columns, device_uid,device_token and, if\n"
    "you want, is_enabled (1, 0, true or false; enabled without it), in any order; or\n"
    "JSON lines with the same names, if it ends in .jsonl, .ndjson or .json; \"-\" is\n"
    "CSV on standard input. CSV may come from a spreadsheet, separated by comma,\n"
    "semicolon, tab or bar; a value that it has made a number, a date or an error of\n"
    "is refused. A token has 16 to 256 printable ASCII characters without\n"
    "\":\"; or the file holds its hash: sha256: and the SHA-256 of the token in hex.\n"
    "\n"
    "The whole file is checked first. If a line is bad, or a uid there twice, the\n"
    "lines are named and nothing is written. Devices that exist keep their state, and\n"
    "their token too: one with another token in the file is reported as a conflict.\n"
    "An import that was stopped, also by Ctrl-C, is finished by running it again.\n"
    "\n"
    "  --salt-file F         the file has no tokens: compute them from the secret in F\n"
    "  --hmac                by HMAC-SHA-256 instead of SHA-256 (see cvm token)\n"
    "  --dry-run             check only\n"
    "  --skip-bad            leave bad lines out instead of refusing the file; of a uid\n"
    "                        that is there twice the first line counts\n"
    "  --replace-tokens      give devices that exist the token in the file\n"
    "  --allow-weak-tokens   take tokens of fewer than 16 characters\n"
    "  --json                report as one JSON object\n"
    "  --set NAME=VALUE      set a property\n"
    "\n"
    "More than about a million rows need room in $TMPDIR (or /tmp): 60 bytes a row.\n"
    "\n"
    "Exit code: 0 done, also with conflicts and with bad lines that --skip-bad left\n"
    "out (the report counts both); 65 bad lines, nothing written; 66 FILE can't be\n"
    "read; 75 the store is busy or failed for now, run it again; 64 and 78 wrong options or\n"
    "configuration.\n";

struct arguments {
    const char *path, *config, *salt_file;
    int32_t hmac, dry_run, skip_bad, replace_tokens, allow_weak_tokens, json;
    struct cli_list settings;
};

struct job {
    const struct arguments *arguments;
    cvm_t *cvm;
    struct import_check check;
    struct progress progress;
    struct import_input input;
    struct import_output output;
};

static int32_t parse(int argc, char **argv, struct arguments *arguments)
{
    struct cli_list operands = {.count = 0};
    const struct cli_option options[] = {
        {"--config", 1, &arguments->config, NULL, NULL},
        {"--set", 1, NULL, NULL, &arguments->settings},
        {"--salt-file", 1, &arguments->salt_file, NULL, NULL},
        {"--hmac", 0, NULL, &arguments->hmac, NULL},
        {"--dry-run", 0, NULL, &arguments->dry_run, NULL},
        {"--skip-bad", 0, NULL, &arguments->skip_bad, NULL},
        {"--replace-tokens", 0, NULL, &arguments->replace_tokens, NULL},
        {"--allow-weak-tokens", 0, NULL, &arguments->allow_weak_tokens, NULL},
        {"--json", 0, NULL, &arguments->json, NULL},
        {NULL, 0, NULL, NULL, NULL},
    };
    int32_t code = cli_parse(argc, argv, options, USAGE, 1, 1, &operands);
    if (code)
        return code;
    arguments->path = operands.values[0];
    if (arguments->hmac && !arguments->salt_file)
        return cli_fail(EX_USAGE, "--hmac says how tokens are computed: it needs --salt-file");
    if (arguments->salt_file && strcmp(arguments->salt_file, "-") == 0)
        return cli_fail(EX_USAGE, "--salt-file takes a file: standard input is for devices");
    return 0;
}

/* --- Report ----------------------------------------------------------------------------------- */

static void report_json(const struct job *job)
{
    const uint64_t *became = job->output.became;
    (void)printf("{\"inserted\": %" PRIu64 ", \"unchanged\": %" PRIu64 ", \"conflicts\": %" PRIu64
                 ", \"replaced\": %" PRIu64 ", \"rejected\": %" PRIu64 ", \"checked\": %" PRIu64
                 ", \"dry_run\": %s}\n",
        became[CVM_ROW_INSERTED], became[CVM_ROW_UNCHANGED], became[CVM_ROW_CONFLICT],
        became[CVM_ROW_REPLACED], job->input.bad.count, job->input.good,
        job->arguments->dry_run ? "true" : "false");
}

static void report_line(const char *what, uint64_t count)
{
    (void)printf("%-9s %" PRIu64 "\n", what, count);
}

static void report(const struct job *job)
{
    const uint64_t *became = job->output.became;
    if (job->arguments->json) {
        report_json(job);
        return;
    }
    if (job->arguments->dry_run) {
        report_line("good", job->input.good);
    } else {
        report_line("inserted", became[CVM_ROW_INSERTED]);
        report_line("unchanged", became[CVM_ROW_UNCHANGED]);
        report_line("conflicts", became[CVM_ROW_CONFLICT]);
        if (job->arguments->replace_tokens)
            report_line("replaced", became[CVM_ROW_REPLACED]);
    }
    report_line("rejected", job->input.bad.count);
}

/* --- Work ------------------------------------------------------------------------------------- */

static const char *temporary_folder(void)
{
    const char *directory = getenv("TMPDIR");
    return directory && *directory ? directory : "/tmp";
}

static int32_t read_input(struct job *job)
{
    const struct arguments *arguments = job->arguments;
    const char *folder = temporary_folder();
    job->input = (struct import_input){
        .path = arguments->path,
        .name = strcmp(arguments->path, "-") == 0 ? "standard input" : arguments->path,
        .check = &job->check,
        .sort = import_sort_new(SORT_MEMORY, folder),
        .folder = folder,
        .progress = &job->progress,
        .bad = {.progress = &job->progress, .what = "bad lines", .most = MOST_BAD_LINES},
        .shared = {.progress = &job->progress, .what = "shared tokens", .most = MOST_BAD_LINES},
    };
    if (!job->input.sort || import_check_begin(&job->check))
        return cli_fail(EX_OSERR, "out of memory");
    int32_t code = import_read(&job->input);
    if (code == 0 && job->input.bad.count && !arguments->skip_bad)
        code = EX_DATAERR;
    if (!code && interrupt_came())
        code = cli_fail(EX_TEMPFAIL, "interrupted: nothing is written");
    if (code == EX_DATAERR && !arguments->dry_run)
        (void)cli_fail(0, "%s: nothing was written", job->input.name);
    return code;
}

static int32_t write_output(struct job *job)
{
    job->output = (struct import_output){
        .cvm = job->cvm,
        .sort = job->input.sort,
        .progress = &job->progress,
        .replaces_tokens = job->arguments->replace_tokens,
        .leaves_unsaid = job->input.says_flags,
        .expected = job->input.good,
        .conflicts = {.progress = &job->progress, .what = "conflicts", .most = MOST_CONFLICTS},
    };
    return import_write(&job->output);
}

/* A line before the first row is written, since who is killed writes none, and one with the sums.
 */
static int32_t audit(const struct job *job, const char *event, int32_t has_sums)
{
    enum { FILE_NAME, SHA256, ROWS, REJECTED, INSERTED, UNCHANGED, CONFLICTS, REPLACED, FIELDS };
    static const char *const NAMES[FIELDS] = {
        "file", "sha256", "rows", "rejected", "inserted", "unchanged", "conflicts", "replaced"};
    const uint64_t *became = job->output.became;
    const uint64_t numbers[FIELDS] = {[ROWS] = job->input.good,
        [REJECTED] = job->input.bad.count,
        [INSERTED] = became[CVM_ROW_INSERTED],
        [UNCHANGED] = became[CVM_ROW_UNCHANGED],
        [CONFLICTS] = became[CVM_ROW_CONFLICT],
        [REPLACED] = became[CVM_ROW_REPLACED]};
    char texts[FIELDS][24];
    const char *values[FIELDS] = {job->input.name, job->input.sha256};
    for (size_t i = ROWS; i < FIELDS; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "%" PRIu64, numbers[i]);
        values[i] = texts[i];
    }
    return cli_error(
        NULL, cvm_audit_event(job->cvm, event, NAMES, values, has_sums ? FIELDS : INSERTED));
}

static int32_t write_audited(struct job *job)
{
    int32_t code = audit(job, "import_begun", 0);
    if (code)
        return code;
    code = write_output(job);
    int32_t audited = audit(job, code ? "import_stopped" : "devices_imported", 1);
    return code ? code : audited;
}

static int32_t work(struct job *job)
{
    progress_init(&job->progress);
    interrupt_catch();
    int32_t code = read_input(job);
    if (!code && !job->arguments->dry_run)
        code = write_audited(job);
    if (!code || code == EX_DATAERR || job->output.written)
        report(job);
    import_check_end(&job->check);
    import_sort_free(job->input.sort);
    return code;
}

static int32_t run(struct job *job)
{
    const struct arguments *arguments = job->arguments;
    char *secret = NULL;
    size_t length = 0;
    cvm_conf_t *conf = NULL;
    int32_t code = cli_configure(arguments->config, &arguments->settings, &conf);
    if (!code && arguments->salt_file)
        code = cli_read_secret(arguments->salt_file, &secret, &length);
    if (!code)
        code = cli_open(conf, &job->cvm);
    cvm_conf_free(conf);
    if (!code) {
        job->check = (struct import_check){
            .cvm = job->cvm,
            .secret = secret,
            .secret_length = length,
            .is_hmac = arguments->hmac,
            .allows_weak_tokens = arguments->allow_weak_tokens,
        };
        code = work(job);
        cli_close(job->cvm);
    }
    cli_forget(secret, length);
    return code;
}

int32_t cli_import(int argc, char **argv)
{
    struct arguments arguments = {0};
    struct job job = {.arguments = &arguments};
    int32_t code = parse(argc, argv, &arguments);
    return code ? code : run(&job);
}
