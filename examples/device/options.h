/* The command line. */
#ifndef CVM_DEVICE_OPTIONS_H
#define CVM_DEVICE_OPTIONS_H

#include "token.h"

#include <stdbool.h>

struct options {
    const char *url;
    const char *ca_file;
    const char *dir;
    struct token_source token; /* the uid stands here, too */
    const char *topic;         /* NULL: things/<thing_name>/hello */
    const char *message;       /* NULL: a small JSON */
    bool server_key;
    bool again;
    bool register_only;
    bool connect_only;
    bool json;
    int retries;
    double retry_base_s;
    int timeout_s;
};

enum { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG };

/* Reads the command line: OPTIONS_DONE after --help, OPTIONS_WRONG when reported. */
int options_parse(struct options *options, int argc, char **argv);

#endif
