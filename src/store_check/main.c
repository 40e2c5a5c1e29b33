/* cvm-store-check: whether a store is one, by cvm/plugin.h. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "cvm/cvm.h"
#include "host.h"
#include "run.h"

static const char USAGE[] =
    "usage: cvm-store-check --module FILE --store KIND:LOCATION --reset COMMAND [OPTION]...\n"
    "\n"
    "Checks a store against cvm/plugin.h: each verb and each of its answers, contests between\n"
    "processes, scans while rows change, limits, and what a killed process leaves. THE STORE IS\n"
    "EMPTIED before each test. Results are told as TAP.\n"
    "\n"
    "  --module FILE           the shared object that has the store\n"
    "  --store KIND:LOCATION   as the property store of a configuration\n"
    "  --reset COMMAND         a shell command that empties the store, or removes it\n"
    "  --set NAME=VALUE        a property of the plugin's own; may be given several times\n"
    "  --only TEXT             only the tests whose name has this in it\n"
    "  --timeout SECONDS       how long a test may take (120)\n"
    "  --list                  the tests' names\n"
    "\n"
    "  It ends with 0 if all passed or do not apply, 1 if some failed, 64 after a wrong option, "
    "and\n"
    "  78 if the module can't be taken.\n"
    "\n"
    "example:\n"
    "  cvm-store-check --module ./cvm-lmdb.so --store lmdb:/tmp/check/db --reset 'rm -f "
    "/tmp/check/*'\n";

static int main_usage(const char *why)
{
    (void)fprintf(stderr, "cvm-store-check: %s; see --help\n", why);
    return EX_USAGE;
}

static int main_check(const char *path, const char *named, const struct run *run)
{
    char error[300];
    if (module_load(path, named, error, sizeof error)) {
        (void)fprintf(stderr, "cvm-store-check: %s\n", error);
        return EX_CONFIG;
    }
    return run_all(run) ? 1 : 0;
}

int main(int argc, char **argv)
{
    enum option_id { MODULE = 1, STORE, RESET, SET, ONLY, TIMEOUT, LIST, HELP, VERSION };
    static const struct option OPTIONS[] = {{"module", required_argument, NULL, MODULE},
        {"store", required_argument, NULL, STORE}, {"reset", required_argument, NULL, RESET},
        {"set", required_argument, NULL, SET}, {"only", required_argument, NULL, ONLY},
        {"timeout", required_argument, NULL, TIMEOUT}, {"list", no_argument, NULL, LIST},
        {"help", no_argument, NULL, HELP}, {"version", no_argument, NULL, VERSION},
        {NULL, 0, NULL, 0}};
    struct run run = {.timeout_s = 120};
    const char *path = NULL, *named = NULL;
    int id;
    while ((id = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        switch (id) {
        case MODULE:
            path = optarg;
            break;
        case STORE:
            named = optarg;
            break;
        case RESET:
            run.reset = optarg;
            break;
        case SET:
            if (settings_add(optarg))
                return main_usage("--set takes NAME=VALUE");
            break;
        case ONLY:
            run.only = optarg;
            break;
        case TIMEOUT:
            run.timeout_s = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case LIST:
            run_list();
            return 0;
        case HELP:
            (void)fputs(USAGE, stdout);
            return 0;
        case VERSION:
            (void)printf("cvm-store-check %d.%d.%d\n", CVM_VERSION_MAJOR, CVM_VERSION_MINOR,
                CVM_VERSION_PATCH);
            return 0;
        default:
            return EX_USAGE;
        }
    }
    if (optind < argc || !path || !named || !run.reset)
        return main_usage("--module, --store and --reset are needed, and nothing else");
    if (!run.timeout_s)
        return main_usage("--timeout takes seconds");
    return main_check(path, named, &run);
}
