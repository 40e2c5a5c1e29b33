/*
 * The smallest program that registers a device through libcvm on a libuv loop of its own.
 *
 *   embed CONFIG UID TOKEN-FILE      CONFIG is what `cvm init` wrote
 *
 * Prints the certificate and the key that the device would get. A real service has its own loop
 * already, and asks for many devices at a time.
 */
#include <stdio.h>
#include <string.h>

#include <cvm/cvm.h>
#include <uv.h>

struct program {
    cvm_t *cvm;
    cvm_request_t *request;
    int failed;
};

/* Says what went wrong and frees it. 1 if something did. */
static int complain(cvm_error_t *error)
{
    if (error)
        (void)fprintf(stderr, "embed: %s: %s\n", cvm_error_name(error), cvm_error_text(error));
    int failed = error != NULL;
    cvm_error_free(error);
    return failed;
}

/* What came of the request. The result is ours until we return. */
static void registered(void *user_data, const cvm_result_t *result)
{
    struct program *program = user_data;
    const cvm_error_t *error = cvm_result_error(result);
    program->failed = error != NULL;
    if (error)
        (void)fprintf(stderr, "embed: %s: %s\n", cvm_error_name(error), cvm_error_text(error));
    else
        (void)printf("%s connects to %s with\n%s%s", cvm_result_thing_name(result),
            cvm_result_endpoint(result), cvm_result_device_certificate(result),
            cvm_result_private_key(result));
    (void)complain(cvm_stop(program->cvm, NULL, NULL)); /* the loop runs out when all is closed */
}

/* The store and the platform are open: now requests are taken. */
static void started(void *user_data, const cvm_error_t *error)
{
    struct program *program = user_data;
    program->failed = error != NULL;
    if (error)
        (void)fprintf(stderr, "embed: %s\n", cvm_error_text(error));
    else
        program->failed =
            complain(cvm_register(program->cvm, program->request, registered, program, NULL));
    if (program->failed)
        (void)complain(cvm_stop(program->cvm, NULL, NULL));
}

/* The first line of a file. 0 if there is one. */
static int read_line(const char *path, char line[300])
{
    FILE *file = fopen(path, "r");
    int failed = !file || !fgets(line, 300, file);
    if (file)
        (void)fclose(file);
    if (!failed)
        line[strcspn(line, "\r\n")] = 0;
    return failed;
}

int main(int argc, char **argv)
{
    struct program program = {NULL, cvm_request_new(), 0};
    cvm_conf_t *conf = cvm_conf_new();
    uv_loop_t loop;
    char token[300];
    if (argc != 4 || !conf || !program.request || uv_loop_init(&loop) ||
        read_line(argv[3], token)) {
        (void)fprintf(stderr, "usage: embed CONFIG UID TOKEN-FILE\n");
        return 64;
    }
    program.failed = complain(cvm_conf_load(conf, argv[1])) ||
                     complain(cvm_request_set_uid(program.request, argv[2])) ||
                     complain(cvm_request_set_token(program.request, token)) ||
                     complain(cvm_new_on_uv(conf, &loop, &program.cvm));
    if (!program.failed)
        program.failed = complain(cvm_start_command(program.cvm, started, &program));
    if (!program.failed)
        (void)uv_run(&loop, UV_RUN_DEFAULT);
    cvm_free(program.cvm);
    (void)uv_run(&loop, UV_RUN_DEFAULT); /* what is being closed */
    cvm_request_free(program.request);
    cvm_conf_free(conf);
    (void)uv_loop_close(&loop);
    return program.failed;
}
