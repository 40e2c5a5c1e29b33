/* Secrets that users hand in: from files and from the environment, never from a command line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "base/secret_text.h"
#include "cli.h"

#define WHY_SIZE 120

int32_t cli_read_secret(const char *path, char **secret, size_t *length)
{
    char why[WHY_SIZE];
    int32_t is_input = strcmp(path, "-") == 0;
    FILE *file = is_input ? stdin : fopen(path, "re");
    if (!file)
        return cli_fail(EX_NOINPUT, "%s: %s", path, strerror(errno));
    enum cvm_secret_reading reading = cvm_secret_read(file, secret, length, why, sizeof why);
    if (!is_input)
        (void)fclose(file);
    if (reading == SECRET_CANT_BE_READ)
        return cli_fail(EX_NOINPUT, "%s: %s", path, why);
    return reading == SECRET_IS_READ
               ? 0
               : cli_fail(EX_DATAERR, "%s %s", is_input ? "standard input" : path, why);
}

int32_t cli_read_secret_variable(const char *name, char **secret, size_t *length)
{
    char why[WHY_SIZE];
    const char *value = getenv(name);
    if (!value)
        return cli_fail(EX_DATAERR,
            "the environment's variable %.80s, which should hold the secret, is not set", name);
    char *copy = strdup(value);
    if (!copy)
        return cli_fail(EX_OSERR, "out of memory");
    size_t size = strlen(copy);
    *length = size;
    if (cvm_secret_check(copy, length, why, sizeof why)) {
        cvm_secret_free(copy, size);
        return cli_fail(EX_DATAERR, "the environment's variable %.80s %s", name, why);
    }
    *secret = copy;
    return 0;
}

void cli_forget(char *secret, size_t length)
{
    cvm_secret_free(secret, length);
}
