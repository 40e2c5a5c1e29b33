/* What the command line says: one table in options.c gives every option's name, type and help. */
#ifndef CVM_BENCH_OPTIONS_H
#define CVM_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#define MAX_SERVER_PIDS 16

struct options {
    const char *url;
    const char *ca_file;
    const char *tls_version;
    const char *uid_format;
    const char *salt_file;
    const char *write_devices; /* the CSV file to write instead of a run */
    uint64_t in_flight;
    uint64_t requests;
    uint64_t seconds;
    uint64_t rate;   /* requests a second; 0: as fast as answers come */
    uint64_t warmup; /* requests before the ones that count */
    uint64_t hold;   /* connections to hold idle instead of a run */
    uint64_t first;  /* number of the first device */
    uint64_t csr_pool;
    uint64_t timeout; /* seconds */
    bool get;
    bool insecure;
    bool kept;
    bool csr;
    bool json;
    uint64_t server_pids[MAX_SERVER_PIDS];
    uint64_t server_pid_count;
};

enum options_outcome { OPTIONS_RUN, OPTIONS_HELP_SHOWN, OPTIONS_BAD };

/* Fills `options` with defaults and then with what argv says; the texts stay argv's. Says on stderr
 * what is wrong. */
enum options_outcome options_parse(struct options *options, int argc, char **argv);

#endif
