/* `cvm store copy`: moves a store into another one, beside its servers; `cvm store thaw` gives up.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "interrupt.h"
#include "progress.h"
#include "store_copy.h"

#define TURN_MS 1000

/* clang-format off */
static const char USAGE[] =
    "usage: cvm store copy FROM TO [--finish] -c CONFIG\n"
    "Copies a store into another one, such as `file:devices.db postgresql:dbname=cvm`, while\n"
    "servers work with the first; both as the property `store`, and with CONFIG's other properties.\n"
    "Run again it goes on where it was, and copies what has changed since. TO must be empty, or such\n"
    "a copy; nothing starts on it until it is finished.\n"
    "  --finish  then freezes FROM (its servers refuse to register, revoke and all else that writes:\n"
    "            devices ask again), copies the rest, and compares both whole. FROM stays frozen:\n"
    "            start the servers on TO. If it fails, FROM is thawed\n"
    "\n"
    "       cvm store thaw -c CONFIG\n"
    "Lets the servers of a frozen store write again: to go back, or after a --finish that was\n"
    "killed. Never while servers work with the copy: each would have devices that the other lacks.\n"
    "\n"
    "Exit code: 0 done; 77 TO has devices of its own, or refuses some, or FROM was thawed meanwhile;\n"
    "69, 75 a store fails for now: run it again; 65 thaw: it is not frozen; 78 a wrong configuration.\n";
/* clang-format on */

struct copying {
    struct progress progress;
    const char *what;
    int32_t is_done, code, is_frozen;
};

/* --- Two instances ---------------------------------------------------------------------------- */

static int32_t make_side(
    const char *config, const struct cli_list *settings, const char *store, cvm_t **side)
{
    cvm_conf_t *conf = NULL;
    int32_t code = cli_configure(config, settings, &conf);
    if (!code)
        code = cli_error(NULL, cvm_conf_set(conf, "store", store));
    if (!code)
        code = cli_error(NULL, cvm_conf_set(conf, "store.create", "true")); /* TO may be missing */
    if (!code)
        code = cli_make(conf, side);
    cvm_conf_free(conf);
    return code;
}

static void turn(cvm_t *from, cvm_t *to)
{
    struct pollfd ready[] = {{cvm_fd(from), POLLIN, 0}, {cvm_fd(to), POLLIN, 0}};
    int timeout_ms = cli_least_ms(cvm_timeout_ms(from), TURN_MS);
    (void)poll(ready, 2, cli_least_ms(cvm_timeout_ms(to), timeout_ms));
    cvm_error_free(cvm_process(from));
    cvm_error_free(cvm_process(to));
}

/* --- Telling ---------------------------------------------------------------------------------- */

static int32_t tell_progress(void *user_data, const char *what, uint64_t count, int32_t is_frozen)
{
    struct copying *copying = user_data;
    if (is_frozen && !copying->is_frozen) {
        progress_clear(&copying->progress);
        (void)puts("the source is frozen: its servers refuse registrations from now on");
        (void)fflush(stdout);
    }
    copying->is_frozen = is_frozen;
    if (copying->what != what) {
        copying->what = what;
        progress_phase(&copying->progress, what);
    }
    progress_at(&copying->progress, count, 0, count);
    return interrupt_came();
}

static void copied(void *user_data, const cvm_error_t *error, const char *text)
{
    struct copying *copying = user_data;
    progress_clear(&copying->progress);
    if (error)
        copying->code = cli_report(NULL, error);
    else
        (void)printf("%s\n%s\n", text,
            copying->is_frozen
                ? "the copy is complete; FROM stays frozen (`cvm store thaw` gives up): start "
                  "the servers on TO"
                : "run it again for what changes meanwhile, and with --finish for the rest");
    copying->is_done = 1;
}

/* --- The verbs -------------------------------------------------------------------------------- */

static int32_t copy(cvm_t *from, cvm_t *to, int32_t finish)
{
    struct copying copying = {.is_done = 0};
    progress_init(&copying.progress);
    copying.progress.unit = "rows";
    interrupt_catch();
    cvm_error_t *error = cvm_store_copy(from, to, finish, tell_progress, copied, &copying);
    if (error)
        return cli_error(NULL, error);
    while (!copying.is_done)
        turn(from, to);
    return copying.code;
}

int32_t cli_store_copy(int argc, char **argv)
{
    const char *config = NULL;
    int32_t finish = 0;
    cvm_t *from = NULL, *to = NULL;
    struct cli_list settings = {.count = 0}, operands = {.count = 0};
    const struct cli_option options[] = {{"--config", 1, &config, NULL, NULL},
        {"--set", 1, NULL, NULL, &settings}, {"--finish", 0, NULL, &finish, NULL},
        {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, USAGE, 2, 2, &operands);
    if (!code)
        code = make_side(config, &settings, operands.values[0], &from);
    if (!code)
        code = make_side(config, &settings, operands.values[1], &to);
    if (!code)
        code = copy(from, to, finish);
    cli_close(to);
    cli_close(from);
    return code;
}

int32_t cli_store_thaw(int argc, char **argv)
{
    const char *config = NULL;
    cvm_conf_t *conf = NULL;
    cvm_t *cvm = NULL;
    struct cli_outcome outcome = {0};
    struct cli_list settings = {.count = 0}, operands = {.count = 0};
    const struct cli_option options[] = {{"--config", 1, &config, NULL, NULL},
        {"--set", 1, NULL, NULL, &settings}, {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, USAGE, 0, 0, &operands);
    if (!code)
        code = cli_configure(config, &settings, &conf);
    if (!code)
        code = cli_open(conf, &cvm);
    if (!code) {
        code = cli_error(NULL, cvm_store_thaw(cvm, cli_done, &outcome));
        if (!code)
            cli_run_until(cvm, &outcome.is_done);
        code = code ? code : outcome.code;
    }
    if (!code)
        (void)puts("the store takes writes again");
    cli_close(cvm);
    cvm_conf_free(conf);
    return code;
}
