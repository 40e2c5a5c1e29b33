/* The cvm command: one table of verbs. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "cli.h"

struct verb {
    const char *name;
    int32_t (*run)(int argc, char **argv);
    int32_t has_verbs; /* of its own */
    const char *help;
};

static const struct verb VERBS[] = {
    {"init", cli_init, 0, "make an instance in a new folder: store, CA, server and broker files"},
    {"serve", cli_serve, 0, "run the server"},
    {"device", cli_device, 1,
        "import, add, show, find, list, enable, disable, reset, revoke, remove"},
    {"token", cli_token, 0, "compute a device's registration token from a shared secret"},
    {"ca", cli_ca, 1, "show the CA, write its CRL, certify a server"},
    {"backup", cli_backup, 0, "copy the file store while the server runs"},
    {"restore", cli_restore, 0, "put a backup of the file store in place"},
    {"store", cli_store_verb, 1,
        "make its tables; move it into another one; look for damage; accept the clock"},
    {"reconcile", cli_reconcile, 0, "carry out now what is due"},
    {"config", cli_config, 0, "every property with type, default, range and help"},
    {"version", cli_version, 0, "the version"},
};
#define VERB_COUNT (sizeof VERBS / sizeof VERBS[0])

static void print_usage(FILE *out)
{
    (void)fputs("cvm: a certificate vending machine for IoT fleets\n\n", out);
    for (size_t i = 0; i < VERB_COUNT; i++)
        (void)fprintf(out, "  cvm %-9s %s\n", VERBS[i].name, VERBS[i].help);
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

/* Whoever is started without one of these would give its number to a file of the store, and print
 * there. */
static void open_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", O_RDWR);
}

int main(int argc, char **argv)
{
    open_standard_files();
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
        cli_name_command(name, VERBS[i].has_verbs && argc > 2 ? argv[2] : NULL);
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
