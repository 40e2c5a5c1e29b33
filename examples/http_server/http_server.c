/*
 * The smallest HTTP server on libcvm: a service that has a server and a loop of its own hands it
 * the payload by cvm_handle(), with the peer's address for the limits, and sends back the answer,
 * already rendered. The loop is poll(2). One connection at a time, HTTP/1.0, no TLS: an example of
 * the calls, not of a server.
 *
 *   http_server CONFIG PORT
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cvm/cvm.h>

#define LARGEST_REQUEST 16384
#define PATIENCE_S      5 /* with a peer that sends nothing, or takes nothing */

struct server {
    cvm_t *cvm;
    int listener, connection; /* -1: none */
    char peer[INET_ADDRSTRLEN];
    int done, failed;
};

static void send_all(int fd, const char *bytes, size_t length)
{
    while (length) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        bytes += sent;
        length -= (size_t)sent;
    }
}

static void answer(int fd, int32_t status, uint32_t retry_after_s, const char *body, size_t length)
{
    char head[200], retry_after[40] = "";
    if (retry_after_s)
        (void)snprintf(retry_after, sizeof retry_after, "Retry-After: %u\r\n", retry_after_s);
    int size = snprintf(head, sizeof head,
        "HTTP/1.0 %d -\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
        "%sCache-Control: no-store\r\n\r\n",
        (int)status, length, retry_after);
    send_all(fd, head, (size_t)size);
    send_all(fd, body, length);
}

static void answer_error(int fd, const char *name, uint32_t retry_after_s)
{
    char body[512];
    int32_t status = cvm_error_render(name, NULL, NULL, body, sizeof body);
    answer(fd, status, retry_after_s, body, strlen(body));
}

/* The result is ready to be sent: status, body, and when to ask again. */
static void handled(void *user_data, const cvm_result_t *result)
{
    struct server *server = user_data;
    size_t length;
    const char *body = cvm_result_body(result, &length);
    if (body)
        answer(server->connection, cvm_result_http_status(result),
            cvm_error_retry_after_s(cvm_result_error(result)), body, length);
    server->done = 1;
}

static void started(void *user_data, const cvm_error_t *error)
{
    struct server *server = user_data;
    server->done = 1;
    server->failed = error != NULL;
    if (error)
        (void)fprintf(stderr, "http_server: %s\n", cvm_error_text(error));
}

/* Waits for the instance or a peer, and has the instance do what is due: it also retires
 * certificates and renews its CRL by itself. Returns 1 if a peer is there. */
static int turn(struct server *server)
{
    struct pollfd ready[] = {{cvm_fd(server->cvm), POLLIN, 0}, {server->listener, POLLIN, 0}};
    int count = server->connection < 0 ? 2 : 1; /* one peer at a time */
    (void)poll(ready, (nfds_t)count, cvm_timeout_ms(server->cvm));
    cvm_error_free(cvm_process(server->cvm));
    return count == 2 && ready[1].revents;
}

static void wait_until_done(struct server *server)
{
    while (!server->done)
        (void)turn(server);
}

/* Reads until the body is as long as its head says. NULL if that does not come. */
static char *read_request(int fd, char buffer[LARGEST_REQUEST + 1], size_t *length)
{
    size_t used = 0;
    ssize_t count;
    while (used < LARGEST_REQUEST &&
           (count = recv(fd, buffer + used, LARGEST_REQUEST - used, 0)) > 0) {
        used += (size_t)count;
        buffer[used] = 0;
        char *body = strstr(buffer, "\r\n\r\n"), *field = strcasestr(buffer, "\r\nContent-Length:");
        if (!body || !field || field > body)
            continue;
        body += 4;
        *length = strtoul(field + strlen("\r\nContent-Length:"), NULL, 10);
        if (*length <= used - (size_t)(body - buffer))
            return body;
    }
    return NULL;
}

/* The callback follows, unless an error is returned. */
static cvm_error_t *hand_over(struct server *server, const char *body, size_t length)
{
    cvm_request_t *request = cvm_request_new();
    if (request)
        cvm_error_free(cvm_request_set_peer(request, server->peer));
    server->done = 0;
    cvm_error_t *error =
        cvm_handle(server->cvm, request, "application/json", body, length, handled, server, NULL);
    cvm_request_free(request);
    return error;
}

static void serve(struct server *server)
{
    char buffer[LARGEST_REQUEST + 1];
    size_t length;
    const char *body = read_request(server->connection, buffer, &length);
    if (!body) {
        answer_error(server->connection, "invalid_request", 0);
        return;
    }
    cvm_error_t *error = hand_over(server, body, length);
    if (error)
        answer_error(server->connection, cvm_error_name(error), cvm_error_retry_after_s(error));
    else
        wait_until_done(server);
    cvm_error_free(error);
}

static void take_peer(struct server *server)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    struct timeval patience = {.tv_sec = PATIENCE_S};
    server->connection = accept(server->listener, (struct sockaddr *)&address, &size);
    if (server->connection < 0)
        return;
    (void)fcntl(server->connection, F_SETFL, 0); /* some systems hand the listener's flags on */
    (void)inet_ntop(AF_INET, &address.sin_addr, server->peer, sizeof server->peer);
    (void)setsockopt(server->connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(server->connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    serve(server);
    (void)close(server->connection);
    server->connection = -1;
}

static int listen_on(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)strtol(port, NULL, 10)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    (void)fcntl(fd, F_SETFL, O_NONBLOCK); /* who came may be gone */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 16)) {
        perror("http_server");
        return -1;
    }
    return fd;
}

int main(int argc, char **argv)
{
    struct server server = {.listener = -1, .connection = -1};
    cvm_conf_t *conf = cvm_conf_new();
    if (argc != 3 || !conf)
        return 64;
    cvm_error_t *error = cvm_conf_load(conf, argv[1]);
    if (!error)
        error = cvm_new(conf, &server.cvm);
    if (!error)
        error = cvm_start(server.cvm, started, &server);
    if (error) {
        (void)fprintf(stderr, "http_server: %s\n", cvm_error_text(error));
        return 1;
    }
    wait_until_done(&server);
    server.listener = server.failed ? -1 : listen_on(argv[2]);
    while (server.listener >= 0)
        if (turn(&server))
            take_peer(&server);
    cvm_free(server.cvm);
    cvm_conf_free(conf);
    return 1;
}
