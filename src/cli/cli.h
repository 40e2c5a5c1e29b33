/* What the command's verbs share: options, an instance to work with, errors as exit codes. */
#ifndef CVM_CLI_CLI_H
#define CVM_CLI_CLI_H

#include <stdint.h>
#include <sysexits.h>

#include "cvm/cvm.h"
#include "cvm/plugin.h"

struct cJSON;

/* How a verb ends besides 0: by sysexits.h's codes; main.c tells users what each means here. */

/* An option of a verb. Names are long ones, such as "--json". */
struct cli_option {
    const char *name;
    int32_t takes_value;
    /* One of these, by its kind: */
    const char **value; /* the last one given */
    int32_t *flag;
    struct cli_list *list; /* all that are given */
};

#define CLI_MOST_LISTED 64

struct cli_list {
    const char *values[CLI_MOST_LISTED];
    uint32_t count;
};

/* Sorts arguments into options and operands; argv[0] is the verb. options end with a NULL name; -c
 * stands for "--config". operands: how many there must be at least and at most. 0, or EX_USAGE
 * after saying why; -1 after `--help` was answered with usage. */
int32_t cli_parse(int argc, char **argv, const struct cli_option *options, const char *usage,
    uint32_t least, uint32_t most, struct cli_list *operands);

/* For a name that is none of a group's verbs: answers --help with usage, and refuses the rest. */
int32_t cli_no_verb(const char *group, const char *name, const char *usage);

/* Prints "cvm: …" to standard error, and where help is if code is EX_USAGE; returns code. */
int32_t cli_fail(int32_t code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints an error with what it was about, frees it, and returns the exit code that fits; 0 for
 * NULL. */
int32_t cli_error(const char *subject, cvm_error_t *error);
/* The same for an error that is borrowed. */
int32_t cli_report(const char *subject, const cvm_error_t *error);
/* What an answer of a backend's own function is as an exit code. */
int32_t cli_answer_code(cvm_answer_t answer);
/* The exit code alone. */
int32_t cli_code_of(const cvm_error_t *error);

/* Reads the configuration file, CVM_* and settings ("name=value"). 0 or an exit code. */
int32_t cli_configure(const char *path, const struct cli_list *settings, cvm_conf_t **result);

/* The folder of a configuration's local CA; NULL on another platform. */
const char *cli_ca_folder(const cvm_conf_t *conf);

/* Whether other servers may share a configuration's store. */
int32_t cli_is_shared(const cvm_conf_t *conf);
/* What is said of them when a CRL is on this machine's disk. */
#define CLI_FOLLOWERS "other servers follow within 5 s"

/* What there is where a configuration's store should be. */
enum cli_store { CLI_STORE_THERE, CLI_STORE_MISSING, CLI_STORE_WRONG };
/* Looks, without opening it; says why if what is there can be no store. */
enum cli_store cli_look_for_store(const cvm_conf_t *conf);
/* Says what to do about CLI_STORE_MISSING. Returns the exit code. */
int32_t cli_fail_missing_store(const cvm_conf_t *conf);

/* Notes what the user has called: a verb, and a verb of its own or NULL. */
void cli_name_command(const char *verb, const char *of_verb);
/* Tells the instance's audit of the user and of that. */
cvm_error_t *cli_set_actor(cvm_t *cvm);

/* An instance beside a possible server, on the store that there is; conf's log is turned down. 0 or
 * an exit code, after saying why. */
int32_t cli_open(cvm_conf_t *conf, cvm_t **cvm);
/* The same where there may be no store yet: makes it. */
int32_t cli_open_new(cvm_conf_t *conf, cvm_t **cvm);
/* One that is not started; what it is is the caller's also on failure. */
int32_t cli_make(cvm_conf_t *conf, cvm_t **cvm);
/* The same by a start of the caller's own. */
int32_t cli_open_as(cvm_error_t *(*start)(cvm_t *cvm, cvm_done_cb callback, void *user_data),
    cvm_conf_t *conf, cvm_t **cvm);
/* Runs the instance until *is_done; after a few seconds it says on what it waits. */
void cli_run_until(cvm_t *cvm, const int32_t *is_done);
/* Runs the instance for some time at most. 1 if *is_done. */
int32_t cli_run_for(cvm_t *cvm, const int32_t *is_done, int64_t ms);
/* A clock that nobody sets. */
int64_t cli_now_ms(void);
/* A timeout of poll's: the smaller of both, timeout_ms -1 being no end. */
int cli_least_ms(int32_t timeout_ms, int64_t left_ms);
/* Stops and frees. */
void cli_close(cvm_t *cvm);

/* What a cvm_done_cb leaves behind: user_data is a struct cli_outcome. */
struct cli_outcome {
    int32_t is_done;
    int32_t code; /* exit code; what went wrong is printed already */
    const char *subject;
};
void cli_done(void *user_data, const cvm_error_t *error);

/* Reads a secret's file ("-" is standard input): one line of UTF-8; one line end of any form behind
 * it is not part of it. Ended by NUL, freed by cli_forget. 0 or an exit code, after saying what is
 * wrong and where. */
int32_t cli_read_secret(const char *path, char **secret, size_t *length);
/* The same of an environment's variable. */
int32_t cli_read_secret_variable(const char *name, char **secret, size_t *length);
void cli_forget(char *secret, size_t length);

/* The path of a configuration's file store; NULL after saying that it has another one. */
const char *cli_file_store(const cvm_conf_t *conf);

/* Prints an object as a line and frees it; NULL is taken for out of memory. 0 or an exit code. */
int32_t cli_print_json(struct cJSON *object);
/* Adds a text, or null. 0, or -1 without memory. */
int32_t cli_json_text(struct cJSON *object, const char *name, const char *text);

/* Opens everything on ports of its own, beside a server that may be running; changes nothing. 0 or
 * an exit code. */
int32_t cli_check_config(const char *path, cvm_conf_t *conf);

/* The verbs: main.c's table. argv[0] is the verb. */
int32_t cli_init(int argc, char **argv);
int32_t cli_serve(int argc, char **argv);
int32_t cli_device(int argc, char **argv);
int32_t cli_import(int argc, char **argv);
int32_t cli_token(int argc, char **argv);
int32_t cli_ca(int argc, char **argv);
int32_t cli_backup(int argc, char **argv);
int32_t cli_restore(int argc, char **argv);
int32_t cli_store_verb(int argc, char **argv);
int32_t cli_reconcile(int argc, char **argv);
int32_t cli_config(int argc, char **argv);
int32_t cli_version(int argc, char **argv);

#endif
