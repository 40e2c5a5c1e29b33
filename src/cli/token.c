/* `cvm token`: a device's token from a shared secret, in the guide's form or the simulators'. */
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <openssl/crypto.h>

#include "cli.h"

static const char USAGE[] =
    "usage: cvm token UID (--salt-file F | --salt-env NAME) [--hmac] [--second UID2] [--json]\n"
    "\n"
    "Prints the registration token: SHA-256(SALT \"//\" UID [\"+\" UID2]) in hex, or with --hmac\n"
    "HMAC-SHA-256(key SALT, message UID). Whoever reads SALT out of one device's firmware can "
    "compute\n"
    "every device's token: prefer a random token for each device.\n";

/* The secret from the file or the variable. 0 or an exit code. */
static int32_t read_salt(const char *file, const char *variable, char **salt, size_t *length)
{
    if (!file == !variable)
        return cli_fail(EX_USAGE, "give the secret by --salt-file or --salt-env, one of them");
    return file ? cli_read_secret(file, salt, length)
                : cli_read_secret_variable(variable, salt, length);
}

static int32_t print_json(const char *uid, const char *second, const char *token)
{
    cJSON *object = cJSON_CreateObject();
    if (cli_json_text(object, "device_uid", uid) ||
        (second && cli_json_text(object, "second_uid", second)) ||
        cli_json_text(object, "device_token", token)) {
        cJSON_Delete(object);
        object = NULL;
    }
    return cli_print_json(object);
}

int32_t cli_token(int argc, char **argv)
{
    const char *file = NULL, *variable = NULL, *second = NULL;
    int32_t hmac = 0, json = 0;
    char *salt = NULL, token[65];
    size_t length = 0;
    struct cli_list operands = {.count = 0};
    const struct cli_option options[] = {{"--salt-file", 1, &file, NULL, NULL},
        {"--salt-env", 1, &variable, NULL, NULL}, {"--second", 1, &second, NULL, NULL},
        {"--hmac", 0, NULL, &hmac, NULL}, {"--json", 0, NULL, &json, NULL},
        {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, USAGE, 1, 1, &operands);
    if (!code)
        code = read_salt(file, variable, &salt, &length);
    if (code)
        return code;
    cvm_error_t *error = cvm_token(salt, length, operands.values[0], second, hmac, token);
    cli_forget(salt, length);
    if (error)
        return cli_error(operands.values[0], error);
    if (json)
        code = print_json(operands.values[0], second, token);
    else
        (void)puts(token);
    OPENSSL_cleanse(token, sizeof token);
    return code;
}
