/* Reads the command line by one table. What the values mean is other files' business. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_IN_FLIGHT 64
#define DEFAULT_TIMEOUT_S 10
#define DEFAULT_REQUESTS  1000

enum kind { FLAG, NUMBER, TEXT, PID };

struct row {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *value;
    const char *help;
};

#define FIELD(name) offsetof(struct options, name)

static const struct row ROWS[] = {
    {"url", TEXT, FIELD(url), "URL", "https:// or http:// address of the registration"},
    {"get", FLAG, FIELD(get), NULL, "GET the URL, whatever it is, instead of registering"},
    {"ca", TEXT, FIELD(ca_file), "FILE", "verify the server by the roots in FILE"},
    {"insecure", FLAG, FIELD(insecure), NULL, "don't verify the server"},
    {"tls", TEXT, FIELD(tls_version), "VERSION", "1.2 or 1.3 (default 1.3)"},
    {"in-flight", NUMBER, FIELD(in_flight), "N", "requests at the same time (default 64)"},
    {"requests", NUMBER, FIELD(requests), "N", "stop after N requests (default 1000)"},
    {"seconds", NUMBER, FIELD(seconds), "S", "stop after S seconds"},
    {"rate", NUMBER, FIELD(rate), "N", "start N a second; latency counts from when it was due"},
    {"warmup", NUMBER, FIELD(warmup), "N", "requests before the ones that count"},
    {"timeout", NUMBER, FIELD(timeout), "S", "give a request up after S seconds (default 10)"},
    {"kept", FLAG, FIELD(kept), NULL, "keep connections (default: a new one for each request)"},
    {"csr", FLAG, FIELD(csr), NULL, "send a CSR (default: the server makes the key)"},
    {"csr-pool", NUMBER, FIELD(csr_pool), "N", "make N keys only; servers refuse shared keys"},
    {"uid-format", TEXT, FIELD(uid_format), "FORMAT", "device ids (default BENCH%07d)"},
    {"first", NUMBER, FIELD(first), "N", "number of the first device (default 0)"},
    {"salt-file", TEXT, FIELD(salt_file), "FILE", "the secret that tokens are computed from"},
    {"write-devices", TEXT, FIELD(write_devices), "FILE",
        "write --requests devices as CSV; no run"},
    {"hold", NUMBER, FIELD(hold), "N", "open N connections and hold them idle; no run"},
    {"server-pid", PID, 0, "PID", "report this process's CPU and memory (repeatable)"},
    {"json", FLAG, FIELD(json), NULL, "print one JSON object"},
    {"help", FLAG, 0, NULL, "print this"},
};

#define ROW_COUNT (sizeof ROWS / sizeof ROWS[0])
#define HELP_ROW  ((int)ROW_COUNT - 1)

static void print_help(void)
{
    puts("usage: cvm-load --url URL [--ca FILE | --insecure] [--salt-file FILE] [option]…");
    for (size_t i = 0; i < ROW_COUNT; i++)
        printf(
            "  --%-14s %-8s %s\n", ROWS[i].name, ROWS[i].value ? ROWS[i].value : "", ROWS[i].help);
}

static bool parse_number(const char *text, uint64_t *number)
{
    char *end = NULL;

    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && text[0] != '-';
}

static bool store_pid(struct options *options, const char *text)
{
    if (options->server_pid_count == MAX_SERVER_PIDS)
        return false;
    return parse_number(text, &options->server_pids[options->server_pid_count++]);
}

static bool store(struct options *options, const struct row *row, const char *text)
{
    char *field = (char *)options + row->offset;

    switch (row->kind) {
    case FLAG:
        *(bool *)field = true;
        return true;
    case NUMBER:
        return parse_number(text, (uint64_t *)(void *)field);
    case TEXT:
        *(const char **)(void *)field = text;
        return true;
    case PID:
        return store_pid(options, text);
    }
    return false;
}

static const char *check_url(const struct options *options)
{
    if (!options->url)
        return "--url is missing";
    if (strncmp(options->url, "http://", 7) == 0)
        return NULL;
    if (strncmp(options->url, "https://", 8) != 0)
        return "--url begins with neither https:// nor http://";
    if (!options->ca_file && !options->insecure)
        return "https needs --ca FILE or --insecure";
    return NULL;
}

/* What doesn't fit together, or NULL. */
static const char *complaint(const struct options *options)
{
    if (strcmp(options->tls_version, "1.2") != 0 && strcmp(options->tls_version, "1.3") != 0)
        return "--tls is 1.2 or 1.3";
    if (options->in_flight == 0 || options->timeout == 0)
        return "--in-flight and --timeout are at least 1";
    if (!options->get && !options->salt_file && !options->hold)
        return "--salt-file is missing: tokens are computed from it";
    if (options->csr && options->requests == 0 && options->csr_pool == 0)
        return "--csr with --seconds needs --requests or --csr-pool: keys are made before the run";
    return options->write_devices ? NULL : check_url(options);
}

static void set_defaults(struct options *options)
{
    *options = (struct options){
        .tls_version = "1.3",
        .uid_format = "BENCH%07d",
        .in_flight = DEFAULT_IN_FLIGHT,
        .timeout = DEFAULT_TIMEOUT_S,
    };
}

static void fill_long_options(struct option *longs)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        longs[i] = (struct option){
            .name = ROWS[i].name,
            .has_arg = ROWS[i].kind == FLAG ? no_argument : required_argument,
        };
}

enum options_outcome options_parse(struct options *options, int argc, char **argv)
{
    struct option longs[ROW_COUNT + 1] = {{0}};
    const char *wrong = NULL;
    int row = 0;

    set_defaults(options);
    fill_long_options(longs);
    for (int found = 0; (found = getopt_long(argc, argv, "", longs, &row)) != -1;) {
        if (found == '?')
            return OPTIONS_BAD;
        if (row == HELP_ROW) {
            print_help();
            return OPTIONS_HELP_SHOWN;
        }
        if (!store(options, &ROWS[row], optarg)) {
            (void)fprintf(stderr, "cvm-load: --%s: not a fit value: %s\n", ROWS[row].name, optarg);
            return OPTIONS_BAD;
        }
    }
    if (options->requests == 0 && options->seconds == 0)
        options->requests = DEFAULT_REQUESTS;
    wrong = optind < argc ? "only options are known, no plain arguments" : complaint(options);
    if (wrong) {
        (void)fprintf(stderr, "cvm-load: %s (try --help)\n", wrong);
        return OPTIONS_BAD;
    }
    return OPTIONS_RUN;
}
