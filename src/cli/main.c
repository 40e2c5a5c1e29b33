/* The cvm command: one table of verbs. */
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "cli.h"

struct verb {
    const char *name;
    int32_t (*run)(int argc, char **argv);
    const char *help;
};

static const struct verb VERBS[] = {
    {"init", cli_init, "make an instance in a new folder: store, CA, server and broker files"},
    {"serve", cli_serve, "run the server"},
    {"device", cli_device, "import, add, show, list, enable, disable, reset, revoke, remove"},
    {"token", cli_token, "compute a device's registration token from a shared secret"},
    {"ca", cli_ca, "show the CA, write its CRL, certify a server"},
    {"backup", cli_backup, "copy the file store while the server runs"},
    {"restore", cli_restore, "put a backup of the file store in place"},
    {"store", cli_store_verb, "look for damage; accept the clock after one that was ahead"},
    {"config", cli_config, "every property with type, default, range and help"},
    {"version", cli_version, "the version"},
};
#define VERB_COUNT (sizeof VERBS / sizeof VERBS[0])

static void print_usage(FILE *out)
{
    (void)fputs("cvm: a certificate vending machine for IoT fleets\n\n", out);
    for (size_t i = 0; i < VERB_COUNT; i++)
        (void)fprintf(out, "  cvm %-8s %s\n", VERBS[i].name, VERBS[i].help);
    (void)fputs("\n`cvm VERB --help` says more.\n"
                "\n"
                "Exit codes are sysexits.h's:\n"
                "   0  done\n"
                "  64  wrong usage\n"
                "  65  bad data: a line, a uid, a token; there is no such device\n"
                "  66  a file that was named can't be read\n"
                "  69  a store, a platform or a file fails for now\n"
                "  70  a bug here, or out of memory (71 too)\n"
                "  73  a file or folder can't be made, or is there already\n"
                "  74  standard output can't be written\n"
                "  75  busy, or the outcome is not known: try again\n"
                "  77  refused: the device's state forbids it\n"
                "  78  a wrong configuration\n",
        out);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_usage(stdout);
        return 0;
    }
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (strcmp(VERBS[i].name, name) != 0)
            continue;
        if (cvm_crypto_init())
            return cli_fail(EX_OSERR, "out of memory");
        int32_t code = VERBS[i].run(argc - 1, argv + 1);
        if (fflush(stdout) && !code)
            code = cli_fail(EX_IOERR, "standard output can't be written");
        return code < 0 ? 0 : code;
    }
    if (*name)
        return cli_fail(EX_USAGE, "there is no verb '%.40s'", name);
    print_usage(stderr);
    return EX_USAGE;
}
