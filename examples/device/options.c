/* Options and their help, from one table. None takes a secret: those come in files. */
#include "options.h"

#include "mqtt.h"
#include "report.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_RETRIES = 8,
    DEFAULT_TIMEOUT_S = 30, /* a server may take 20 s to say that it could not finish */
    LARGEST_NUMBER = 3600,
    LONGEST_UID = 128
};

enum kind { TEXT, FLAG, COUNT, SECONDS, HELP };

struct row {
    const char *name;
    const char *value;
    const char *help;
    enum kind kind;
    size_t offset; /* in struct options */
};

#define AT(field) offsetof(struct options, field)

static const struct row ROWS[] = {
    {"dir", " DIR", "the device's folder; it is made if it isn't there", TEXT, AT(dir)},
    {"url", " URL", "https://HOST[:PORT]/registration", TEXT, AT(url)},
    {"uid", " UID", "who the device is: serial number, MAC, IMEI", TEXT, AT(token.uid)},
    {"ca", " FILE", "PEM: the only CAs that may vouch for the server", TEXT, AT(ca_file)},
    {"salt-file", " FILE", "the secret to compute the token from", TEXT, AT(token.salt_file)},
    {"second-uid", " UID2", "the token is made from two ids", TEXT, AT(token.second_uid)},
    {"hmac", "", "the token is an HMAC, not a plain hash", FLAG, AT(token.hmac)},
    {"token-file", " FILE", "the token itself, instead of --salt-file", TEXT, AT(token.token_file)},
    {"server-key", "", "let the server make the key", FLAG, AT(server_key)},
    {"again", "", "register anew although credentials are held", FLAG, AT(again)},
    {"register-only", "", "register, don't connect", FLAG, AT(register_only)},
    {"connect-only", "", "connect, don't register; --dir is enough", FLAG, AT(connect_only)},
    {"publish", " TOPIC", "instead of things/THING_NAME/hello", TEXT, AT(topic)},
    {"message", " TEXT", "instead of a small JSON object", TEXT, AT(message)},
    {"retries", " N", "tries after the first, of either step (8)", COUNT, AT(retries)},
    {"retry-base", " S", "first wait: 0 to S seconds, doubling to 60 (1)", SECONDS,
        AT(retry_base_s)},
    {"timeout", " S", "for one request, and for one connection (30)", COUNT, AT(timeout_s)},
    {"json", "", "say what was done as one JSON object", FLAG, AT(json)},
    {"help", "", "this text", HELP, 0},
};

enum { ROW_COUNT = sizeof ROWS / sizeof ROWS[0] };

static void print_help(void)
{
    puts("Usage: cvm-device --dir DIR --url URL --uid UID --ca FILE --salt-file FILE [OPTION]...\n"
         "Registers this device, keeps its credentials in DIR, and says hello to its broker.\n");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const int width = 18 - (int)strlen(ROWS[i].name);
        printf("  --%s%-*s%s\n", ROWS[i].name, width, ROWS[i].value, ROWS[i].help);
    }
    puts("\nExit status: 0 done, 64 wrong usage, 65 an answer, a server's certificate or stored\n"
         "credentials are not acceptable, 69 server or broker not reached, 75 try again later,\n"
         "77 refused by the server or the broker, 78 a file can't be read or written.");
}

static bool parse_number(const char *text, double *number)
{
    char *end = NULL;
    *number = strtod(text, &end);
    return end != text && *end == '\0' && *number >= 0 && *number <= LARGEST_NUMBER;
}

static int store_value(const struct row *row, const char *text, struct options *options)
{
    char *place = (char *)options + row->offset;
    double number = 0;
    if ((row->kind == COUNT || row->kind == SECONDS) && !parse_number(text, &number)) {
        report(EX_USAGE, "--%s %s: must be a number from 0 to %d", row->name, text, LARGEST_NUMBER);
        return OPTIONS_WRONG;
    }
    switch (row->kind) {
    case TEXT:
        memcpy(place, &text, sizeof text);
        break;
    case FLAG:
        *(bool *)place = true;
        break;
    case COUNT:
        *(int *)(void *)place = (int)number;
        break;
    case SECONDS:
        *(double *)(void *)place = number;
        break;
    case HELP:
        print_help();
        return OPTIONS_DONE;
    }
    return OPTIONS_RUN;
}

/* The server's rule for a device's id. */
static bool is_uid(const char *uid)
{
    static const char ALLOWED[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_-";
    const size_t length = strlen(uid);
    return length > 0 && length <= LONGEST_UID && strspn(uid, ALLOWED) == length;
}

/* What is wrong with the options together; NULL if nothing is. */
static const char *problem_of(const struct options *options)
{
    const struct token_source *token = &options->token;
    if (options->dir == NULL) {
        return "--dir is missing";
    }
    if (options->topic != NULL && !mqtt_is_topic(options->topic)) {
        return "--publish must name a topic, without wildcards";
    }
    if (options->timeout_s < 1) {
        return "--timeout must be at least 1";
    }
    if (options->connect_only) {
        const bool both = options->register_only || options->again;
        return both ? "--connect-only goes with neither --register-only nor --again" : NULL;
    }
    if (options->url == NULL || options->ca_file == NULL || token->uid == NULL) {
        return "--url, --uid and --ca are needed to register";
    }
    if (!is_uid(token->uid)) {
        return "--uid must be 1 to 128 of A-Z a-z 0-9 : _ -";
    }
    if ((token->token_file == NULL) == (token->salt_file == NULL)) {
        return "either --salt-file or --token-file is needed to register";
    }
    if (token->hmac && token->second_uid != NULL) {
        return "--hmac goes without --second-uid";
    }
    return NULL;
}

static int parse_each(struct options *options, int argc, char **argv)
{
    struct option table[ROW_COUNT + 1] = {0};
    for (int i = 0; i < ROW_COUNT; i++) {
        const int argument = ROWS[i].value[0] == '\0' ? no_argument : required_argument;
        table[i] = (struct option){.name = ROWS[i].name, .has_arg = argument};
    }
    int row = 0;
    int result = OPTIONS_RUN;
    int found = getopt_long(argc, argv, "", table, &row);
    for (; found != -1 && result == OPTIONS_RUN; found = getopt_long(argc, argv, "", table, &row)) {
        result = found == 0 ? store_value(&ROWS[row], optarg, options) : OPTIONS_WRONG;
    }
    return result;
}

int options_parse(struct options *options, int argc, char **argv)
{
    *options = (struct options){
        .retries = DEFAULT_RETRIES, .retry_base_s = 1, .timeout_s = DEFAULT_TIMEOUT_S};
    const int result = parse_each(options, argc, argv);
    if (result != OPTIONS_RUN) {
        return result;
    }
    const char *problem = optind < argc ? "no arguments without -- are taken" : problem_of(options);
    if (problem != NULL) {
        report(EX_USAGE, "%s; see --help", problem);
        return OPTIONS_WRONG;
    }
    return OPTIONS_RUN;
}
