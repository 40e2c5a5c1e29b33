/* cvm-load: makes registrations, or plain GETs, as fast as a server answers or at a given rate, and
 * tells rate, latency and what the server used. README.md says how to read it. */
#include "csr.h"
#include "devices.h"
#include "options.h"
#include "process.h"
#include "results.h"
#include "runner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sysexits.h>

static void on_stop_signal(int number)
{
    (void)number;
    runner_stop();
}

static void set_signals(void)
{
    struct sigaction stop = {.sa_handler = on_stop_signal};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    (void)sigaction(SIGINT, &stop, NULL);
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL); /* OpenSSL writes without MSG_NOSIGNAL */
}

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int measure(struct runner *runner, struct results *results)
{
    const struct options *options = runner->options;
    const uint64_t *pids = options->server_pids;

    results->has_servers = options->server_pid_count > 0;
    if (!usage_read(&results->servers_before, pids, options->server_pid_count))
        return EX_UNAVAILABLE;
    runner_run(runner, options->requests, options->seconds, results);
    if (!usage_read(&results->servers_after, pids, options->server_pid_count))
        return EX_UNAVAILABLE;
    results_print(results, options->json);
    return results->ok == results->requests ? EXIT_SUCCESS : EX_UNAVAILABLE;
}

static int hold(struct runner *runner)
{
    struct hold_results results = {0};

    if (!runner_hold(runner, &results))
        return EX_UNAVAILABLE;
    hold_results_print(&results, runner->options->json);
    return results.lost == 0 ? EXIT_SUCCESS : EX_UNAVAILABLE;
}

static int run_with(struct runner *runner)
{
    struct results warmup = {0};
    struct results results = {0};
    int code = 0;

    if (runner->options->warmup > 0 && runner->options->hold == 0)
        runner_run(runner, runner->options->warmup, 0, &warmup);
    code = runner->options->hold > 0 ? hold(runner) : measure(runner, &results);
    results_free(&warmup);
    results_free(&results);
    return code;
}

static bool make_csrs(const struct options *options, struct csr_pool *csrs)
{
    uint64_t count = options->warmup + options->requests;

    if (options->csr_pool > 0 && (options->csr_pool < count || options->requests == 0))
        count = options->csr_pool;
    if (!options->csr || csr_pool_make(csrs, count))
        return true;
    (void)fputs("cvm-load: CSRs can't be made\n", stderr);
    return false;
}

static int run(const struct options *options, const struct devices *devices)
{
    struct csr_pool csrs = {0};
    struct runner runner;
    int code = EX_UNAVAILABLE;

    if (!make_csrs(options, &csrs))
        return EX_SOFTWARE;
    if (runner_init(&runner, options, devices, &csrs))
        code = run_with(&runner);
    runner_free(&runner);
    csr_pool_free(&csrs);
    return code;
}

int main(int argc, char **argv)
{
    struct options options;
    struct devices devices;

    switch (options_parse(&options, argc, argv)) {
    case OPTIONS_BAD:
        return EX_USAGE;
    case OPTIONS_HELP_SHOWN:
        return EXIT_SUCCESS;
    case OPTIONS_RUN:
        break;
    }
    if (!devices_init(&devices, options.uid_format, options.salt_file))
        return EX_USAGE;
    if (options.write_devices)
        return devices_write(&devices, options.write_devices, options.first, options.requests)
                   ? EXIT_SUCCESS
                   : EX_IOERR;
    set_signals();
    raise_file_limit();
    return run(&options, &devices);
}
