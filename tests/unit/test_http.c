/* Requests by libcurl on the loop: what becomes of its sockets, and of what ends at once. */
#include "support/test.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/aws/http.h"
#include "base/clock.h"
#include "loop.h"

#define LONGEST_MS 10000

static struct cvm_loop *loop;
static uint32_t watches; /* made since the test's begin */

/* --- The host, of the loop alone -------------------------------------------------------------- */

static cvm_watch_t *watch_new(cvm_context_t *context, int32_t fd,
    void (*happened)(void *argument, uint32_t events), void *argument)
{
    struct cvm_watch *watch = cvm_watch_new(loop, fd, happened, argument);
    (void)context;
    assert_non_null(watch);
    watches++;
    return (cvm_watch_t *)(void *)watch;
}

static void watch_set(cvm_watch_t *watch, uint32_t events)
{
    cvm_watch_set((struct cvm_watch *)(void *)watch, events);
}

static void watch_free(cvm_watch_t *watch)
{
    cvm_watch_free((struct cvm_watch *)(void *)watch);
}

static cvm_timer_t *timer_new(
    cvm_context_t *context, void (*expired)(void *argument), void *argument)
{
    (void)context;
    return (cvm_timer_t *)(void *)cvm_timer_new(loop, expired, argument);
}

static void timer_start(cvm_timer_t *timer, int64_t ms)
{
    cvm_timer_start((struct cvm_timer *)(void *)timer, (uint64_t)ms);
}

static void timer_stop(cvm_timer_t *timer)
{
    cvm_timer_stop((struct cvm_timer *)(void *)timer);
}

static void timer_free(cvm_timer_t *timer)
{
    cvm_timer_free((struct cvm_timer *)(void *)timer);
}

static const cvm_host_t HOST = {.size = sizeof HOST,
    .watch_new = watch_new,
    .watch_set = watch_set,
    .watch_free = watch_free,
    .timer_new = timer_new,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .timer_free = timer_free};

/* --- Servers ---------------------------------------------------------------------------------- */

struct server {
    int listener;
    char url[64];
    pthread_t thread;
};

static void server_listen(struct server *server, int backlog)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server->listener, backlog), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(
        server->url, sizeof server->url, "http://127.0.0.1:%d/", ntohs(address.sin_port));
}

/* One connection after the other, until the listener is shut down. */
static void *serve(void *argument)
{
    static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const struct server *server = argument;
    char bytes[4096];
    for (int fd; (fd = accept(server->listener, NULL, NULL)) >= 0; (void)close(fd))
        while (read(fd, bytes, sizeof bytes) > 0)
            assert_int_equal(write(fd, ANSWER, strlen(ANSWER)), strlen(ANSWER));
    return NULL;
}

static void server_start(struct server *server)
{
    server_listen(server, 16);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
    (void)shutdown(server->listener, SHUT_RDWR);
    (void)pthread_join(server->thread, NULL);
    (void)close(server->listener);
}

/* As a network that is gone: no connection comes about, and none is refused. */
static void server_be_gone(struct server *server, int fillers[4])
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    server_listen(server, 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &size), 0);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (struct sockaddr *)&address, size);
    }
}

/* --- Requests --------------------------------------------------------------------------------- */

struct request {
    struct aws_exchange *exchange;
    int32_t is_done, status;
};

static void told(void *argument, const struct aws_http_response *response)
{
    struct request *request = argument;
    request->is_done = 1;
    request->status = response->failure ? -1 : response->status;
}

static void request_begin(
    struct request *request, struct aws_http *http, const char *url, int64_t timeout_ms)
{
    const struct aws_http_request wanted = {
        .method = "GET", .url = url, .timeout_ms = timeout_ms, .is_plain = 1};
    *request = (struct request){.is_done = 0};
    request->exchange = cvm_aws_http_send(http, &wanted, told, request);
    assert_non_null(request->exchange);
}

static int32_t request_end(const struct request *request)
{
    uint64_t end_ms = cvm_monotonic_ms() + LONGEST_MS;
    while (!request->is_done && cvm_monotonic_ms() < end_ms) {
        cvm_loop_process(loop);
        (void)usleep(1000);
    }
    assert_true(request->is_done);
    return request->status;
}

static struct aws_http *begin(void)
{
    const struct aws_http_options options = {.root_ca = "", .proxy = ""};
    loop = cvm_loop_new(NULL);
    watches = 0;
    struct aws_http *http = cvm_aws_http_new(&HOST, NULL, &options);
    assert_non_null(http);
    return http;
}

static void closed(void *argument)
{
    (void)argument;
}

static void end(struct aws_http *http)
{
    cvm_aws_http_free(http);
    cvm_loop_close(loop, closed, NULL);
    cvm_loop_run(loop);
}

/* --- Tests ------------------------------------------------------------------------------------ */

static void a_connection_that_is_kept_is_watched_once(void **state)
{
    struct server server;
    struct request request;
    (void)state;
    server_start(&server);
    struct aws_http *http = begin();
    for (int i = 0; i < 5; i++) {
        request_begin(&request, http, server.url, LONGEST_MS);
        assert_int_equal(request_end(&request), 200);
    }
    assert_int_equal(watches, 1);
    end(http);
    server_stop(&server);
}

/* libcurl 7.88 closes a socket that never got so far without a word; its number is the next one's.
 */
static void a_connection_that_never_was_leaves_nothing_behind(void **state)
{
    struct server gone, good;
    struct request request;
    int fillers[4];
    (void)state;
    server_be_gone(&gone, fillers);
    server_start(&good);
    struct aws_http *http = begin();
    request_begin(&request, http, gone.url, 200);
    assert_int_equal(request_end(&request), -1);
    request_begin(&request, http, gone.url, LONGEST_MS);
    cvm_loop_process(loop);
    cvm_aws_http_cancel(request.exchange);
    for (int i = 0; i < 3; i++) {
        request_begin(&request, http, good.url, LONGEST_MS);
        assert_int_equal(request_end(&request), 200);
    }
    end(http);
    server_stop(&good);
    for (int i = 0; i < 4; i++)
        (void)close(fillers[i]);
    (void)close(gone.listener);
}

/* Another's end makes libcurl set its timer anew. */
static void what_ends_at_once_is_told_whatever_else_ends(void **state)
{
    struct server gone;
    struct request slow, bad;
    int fillers[4];
    (void)state;
    server_be_gone(&gone, fillers);
    struct aws_http *http = begin();
    request_begin(&slow, http, gone.url, 60000);
    cvm_loop_process(loop);
    request_begin(&bad, http, "http://127.0.0.1:99999/", 60000);
    assert_false(bad.is_done);
    cvm_aws_http_cancel(slow.exchange);
    assert_int_equal(request_end(&bad), -1);
    end(http);
    for (int i = 0; i < 4; i++)
        (void)close(fillers[i]);
    (void)close(gone.listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_that_is_kept_is_watched_once),
        cmocka_unit_test(a_connection_that_never_was_leaves_nothing_behind),
        cmocka_unit_test(what_ends_at_once_is_told_whatever_else_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
