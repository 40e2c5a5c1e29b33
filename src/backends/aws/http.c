/* libcurl's multi interface. Easy handles are kept, and so are connections. */
#include "http.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/clock.h"
#include "roots.h"

#define MOST_CONNECTIONS   32 /* to one host; what is more waits */
#define KEPT_CONNECTIONS   64
#define KEPT_HANDLES       64
#define LARGEST_ANSWER     (48u << 20) /* a BatchGetItem's 16 MB, each byte of it escaped in part */
#define CONNECT_TIMEOUT_MS 3000L
#define LONGEST_IDLE_S     50L /* DynamoDB closes what is idle for a minute */

/* What libcurl watches. A connection that a request went out on stays watched until libcurl closes
 * it: to begin and end that for each request would take longer than to send it. All others are
 * libcurl's to close without a word: its resolver's, and (before 8.2) those on which nobody has
 * answered yet. */
struct aws_socket {
    struct aws_socket *next, **link;
    struct aws_http *http;
    curl_socket_t fd;
    cvm_watch_t *watch;
    int32_t is_idle;
};

struct aws_exchange {
    struct aws_exchange *next, **link;
    struct aws_http *http;
    CURL *easy;
    struct curl_slist *headers;
    struct cvm_buffer body;
    struct aws_http_response response;
    char failure[CURL_ERROR_SIZE];
    aws_http_done done;
    void *argument;
};

struct aws_http {
    const cvm_host_t *host;
    cvm_context_t *context;
    struct aws_http_options options;
    struct cvm_buffer roots; /* PEM */
    CURLM *multi;
    cvm_timer_t *timer;
    struct aws_socket *sockets;
    struct aws_exchange *exchanges; /* under way */
    int exchange_count;
    int32_t has_untold; /* some have ended, and the timer is there to tell it */
    CURL *kept[KEPT_HANDLES];
    uint32_t kept_count;
};

/* --- What an answer says ---------------------------------------------------------------------- */

/* The value of the line's header of that name, without white space around it; 0 if it is another
 * one. */
static int32_t header_is(
    const char *line, size_t length, const char *name, char *value, size_t size)
{
    size_t name_length = strlen(name);
    if (length <= name_length || line[name_length] != ':' ||
        strncasecmp(line, name, name_length) != 0)
        return 0;
    const char *from = line + name_length + 1, *end = line + length;
    while (from < end && (*from == ' ' || *from == '\t'))
        from++;
    while (end > from && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    (void)snprintf(value, size, "%.*s", (int)(end - from), from);
    return 1;
}

static size_t take_header(char *line, size_t one, size_t length, void *argument)
{
    struct aws_http_response *response = &((struct aws_exchange *)argument)->response;
    char value[96];
    (void)one;
    if (header_is(
            line, length, "x-amzn-errortype", response->error_type, sizeof response->error_type) ||
        header_is(
            line, length, "x-amzn-requestid", response->request_id, sizeof response->request_id))
        return length;
    if (header_is(line, length, "retry-after", value, sizeof value)) {
        unsigned long seconds = strtoul(value, NULL, 10);
        response->retry_after_s = seconds > 3600 ? 3600 : (uint32_t)seconds;
    } else if (header_is(line, length, "date", value, sizeof value)) {
        /* RFC 9110 §5.6.7's IMF-fixdate; not by libcurl's, whose time_t may be narrower than ours.
         */
        int64_t date_ms = cvm_read_utc(value, "???, DD bbb YYYY hh:mm:ss");
        response->date_ms = date_ms > 0 ? date_ms : 0;
    }
    return length;
}

static size_t take_body(char *bytes, size_t one, size_t length, void *argument)
{
    struct cvm_buffer *body = &((struct aws_exchange *)argument)->body;
    (void)one;
    cvm_buffer_add(body, bytes, length);
    return body->failed ? 0 : length;
}

/* A connection is there, and the request goes out: once, or again when libcurl thinks that a kept
 * one was dead. */
static int count_send(void *argument, char *peer, char *own, int peer_port, int own_port)
{
    struct aws_exchange *exchange = argument;
    (void)peer;
    (void)own;
    (void)peer_port;
    (void)own_port;
    exchange->response.sends++;
    return CURL_PREREQFUNC_OK;
}

/* --- Handles ---------------------------------------------------------------------------------- */

static int close_connection(void *argument, curl_socket_t fd);

/* What holds for every request. */
static void easy_set_up(CURL *easy, struct aws_http *http)
{
    const struct aws_http_options *options = &http->options;
    struct curl_blob roots = {http->roots.text, http->roots.length, CURL_BLOB_NOCOPY};
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* a look-up in DNS is not waited for */
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, LONGEST_IDLE_S);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "libcvm");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, count_send);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_connection);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, http);
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    if (*options->root_ca) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, options->root_ca);
    } else {
        curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &roots);
    }
}

static CURL *easy_take(struct aws_http *http)
{
    if (http->kept_count)
        return http->kept[--http->kept_count];
    CURL *easy = curl_easy_init();
    if (easy)
        easy_set_up(easy, http);
    return easy;
}

static void easy_give_back(struct aws_http *http, CURL *easy)
{
    if (http->kept_count < KEPT_HANDLES)
        http->kept[http->kept_count++] = easy;
    else
        curl_easy_cleanup(easy);
}

/* --- Exchanges -------------------------------------------------------------------------------- */

/* Takes it off the list of those under way, and its handle back. */
static void exchange_end(struct aws_exchange *exchange)
{
    struct aws_http *http = exchange->http;
    *exchange->link = exchange->next;
    if (exchange->next)
        exchange->next->link = exchange->link;
    http->exchange_count--;
    (void)curl_multi_remove_handle(http->multi, exchange->easy);
    easy_give_back(http, exchange->easy);
}

static void exchange_free(struct aws_exchange *exchange)
{
    curl_slist_free_all(exchange->headers);
    cvm_buffer_free(&exchange->body);
    free(exchange);
}

void cvm_aws_http_cancel(struct aws_exchange *exchange)
{
    exchange_end(exchange);
    exchange_free(exchange);
}

static char NOTHING[1];

static void exchange_finish(struct aws_exchange *exchange, CURLcode code)
{
    struct aws_http_response *response = &exchange->response;
    long status = 0;
    curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
    response->status = (int32_t)status;
    response->body = exchange->body.text ? exchange->body.text : NOTHING;
    response->length = exchange->body.length;
    if (code != CURLE_OK) {
        response->failure = *exchange->failure ? exchange->failure : curl_easy_strerror(code);
        response->is_unsent = !response->sends;
    }
    exchange_end(exchange);
    exchange->done(exchange->argument, response);
    exchange_free(exchange);
}

static void http_go_on(struct aws_http *http)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(http->multi, &left));) {
        struct aws_exchange *exchange = NULL;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &exchange);
        exchange_finish(exchange, code);
    }
}

/* --- Sockets ---------------------------------------------------------------------------------- */

static void socket_happened(void *argument, uint32_t events)
{
    const struct aws_socket *socket = argument;
    struct aws_http *http = socket->http;
    int running;
    if (socket->is_idle) { /* it was closed, most likely: libcurl looks before it takes it again */
        http->host->watch_set(socket->watch, 0);
        return;
    }
    int mask = (events & CVM_READABLE ? CURL_CSELECT_IN : 0) |
               (events & CVM_WRITABLE ? CURL_CSELECT_OUT : 0);
    /* The socket may be gone after that. */
    (void)curl_multi_socket_action(http->multi, socket->fd, mask, &running);
    http_go_on(http);
}

static struct aws_socket *socket_find(const struct aws_http *http, curl_socket_t fd)
{
    struct aws_socket *socket = http->sockets;
    while (socket && socket->fd != fd)
        socket = socket->next;
    return socket;
}

/* Has libcurl kept the connection, for the next request? What it does not keep it may have closed
 * already, before 8.2 without a word if nobody had answered on it. */
static int32_t is_kept(CURL *easy, curl_socket_t fd)
{
    curl_socket_t kept = CURL_SOCKET_BAD;
    return curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &kept) == CURLE_OK && kept == fd;
}

static void socket_free(struct aws_socket *socket)
{
    if (!socket)
        return;
    *socket->link = socket->next;
    if (socket->next)
        socket->next->link = socket->link;
    socket->http->host->watch_free(socket->watch);
    free(socket);
}

static struct aws_socket *socket_new(struct aws_http *http, curl_socket_t fd)
{
    struct aws_socket *socket = malloc(sizeof *socket);
    if (!socket)
        return NULL;
    *socket = (struct aws_socket){.next = http->sockets,
        .link = &http->sockets,
        .http = http,
        .fd = fd,
        .watch = http->host->watch_new(http->context, fd, socket_happened, socket),
        .is_idle = 1};
    if (!socket->watch) {
        free(socket);
        return NULL;
    }
    if (http->sockets)
        http->sockets->link = &socket->next;
    http->sockets = socket;
    return socket;
}

static int close_connection(void *argument, curl_socket_t fd)
{
    socket_free(socket_find(argument, fd));
    return close(fd);
}

/* A socket that can't be watched makes no progress: its request ends by its timeout. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *argument, void *assigned)
{
    struct aws_http *http = argument;
    struct aws_socket *socket = socket_find(http, fd);
    (void)assigned;
    if (what == CURL_POLL_REMOVE && socket && is_kept(easy, fd)) {
        socket->is_idle = 1;
        return 0;
    }
    if (what == CURL_POLL_REMOVE) {
        socket_free(socket);
        return 0;
    }
    if (!socket)
        socket = socket_new(http, fd);
    if (!socket)
        return 0;
    socket->is_idle = 0;
    http->host->watch_set(socket->watch,
        (what & CURL_POLL_IN ? CVM_READABLE : 0u) | (what & CURL_POLL_OUT ? CVM_WRITABLE : 0u));
    return 0;
}

/* --- The timer -------------------------------------------------------------------------------- */

static int set_timer(CURLM *multi, long timeout_ms, void *argument)
{
    const struct aws_http *http = argument;
    (void)multi;
    if (http->has_untold)
        return 0; /* libcurl says it again when the timer has expired */
    if (timeout_ms < 0)
        http->host->timer_stop(http->timer);
    else
        http->host->timer_start(http->timer, timeout_ms);
    return 0;
}

static void timer_expired(void *argument)
{
    struct aws_http *http = argument;
    int running;
    http->has_untold = 0;
    (void)curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    http_go_on(http);
}

/* Sends what was added now, and not at the loop's next turn. What ended by that is told then. */
static void http_start(struct aws_http *http)
{
    int running = 0;
    (void)curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    if (running < http->exchange_count) {
        http->has_untold = 1;
        http->host->timer_start(http->timer, 0);
    }
}

/* --- Beginning and ending --------------------------------------------------------------------- */

static void start_curl(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct aws_http *cvm_aws_http_new(
    const cvm_host_t *host, cvm_context_t *context, const struct aws_http_options *options)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, start_curl);
    struct aws_http *http = calloc(1, sizeof *http);
    if (!http)
        return NULL;
    *http = (struct aws_http){
        .host = host, .context = context, .options = *options, .roots = {.most = 16384}};
    for (const char *const *root = CVM_AWS_ROOTS; *root; root++)
        cvm_buffer_text(&http->roots, *root);
    http->multi = curl_multi_init();
    http->timer = host->timer_new(context, timer_expired, http);
    if (!http->multi || !http->timer || http->roots.failed) {
        cvm_aws_http_free(http);
        return NULL;
    }
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS);
    curl_multi_setopt(http->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)MOST_CONNECTIONS);
    return http;
}

void cvm_aws_http_free(struct aws_http *http)
{
    if (!http)
        return;
    for (struct aws_exchange *exchange = http->exchanges, *next; exchange; exchange = next) {
        next = exchange->next;
        cvm_aws_http_cancel(exchange);
    }
    while (http->kept_count)
        curl_easy_cleanup(http->kept[--http->kept_count]);
    if (http->multi)
        (void)curl_multi_cleanup(http->multi);
    for (struct aws_socket *socket = http->sockets, *next; socket; socket = next) {
        next = socket->next;
        socket_free(socket);
    }
    http->host->timer_free(http->timer);
    cvm_buffer_free(&http->roots);
    free(http);
}

static int32_t exchange_add_header(struct aws_exchange *exchange, const char *line)
{
    struct curl_slist *longer = curl_slist_append(exchange->headers, line);
    if (longer)
        exchange->headers = longer;
    return longer ? 0 : -1;
}

/* Of libcurl's own it gets none that were not signed and might be read as something. */
static int32_t exchange_add_headers(
    struct aws_exchange *exchange, const struct aws_http_request *request)
{
    int32_t failed =
        exchange_add_header(exchange, "Expect:") || exchange_add_header(exchange, "Accept:");
    for (uint32_t i = 0; i < request->header_count && !failed; i++)
        failed = exchange_add_header(exchange, request->headers[i]);
    return failed;
}

static int32_t exchange_set_up(
    struct aws_exchange *exchange, const struct aws_http_request *request)
{
    CURL *easy = exchange->easy;
    if (exchange_add_headers(exchange, request))
        return -1;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, exchange);
    curl_easy_setopt(easy, CURLOPT_PROXY, request->is_direct ? "" : exchange->http->options.proxy);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, exchange);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->failure);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, request->is_plain ? "http,https" : "https");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->headers);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, request->is_fresh ? 1L : 0L);
    if (request->body) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->length);
        if (request->copies_body)
            curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->body);
        else
            curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
    } else {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    return curl_easy_setopt(easy, CURLOPT_URL, request->url) == CURLE_OK &&
                   curl_multi_add_handle(exchange->http->multi, easy) == CURLM_OK
               ? 0
               : -1;
}

struct aws_exchange *cvm_aws_http_send(struct aws_http *http,
    const struct aws_http_request *request, aws_http_done done, void *argument)
{
    struct aws_exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange)
        return NULL;
    *exchange = (struct aws_exchange){.next = http->exchanges,
        .link = &http->exchanges,
        .http = http,
        .easy = easy_take(http),
        .body = {.most = request->largest ? request->largest + 1 : LARGEST_ANSWER},
        .done = done,
        .argument = argument};
    if (!exchange->easy) {
        free(exchange);
        return NULL;
    }
    if (http->exchanges)
        http->exchanges->link = &exchange->next;
    http->exchanges = exchange;
    http->exchange_count++;
    if (exchange_set_up(exchange, request)) {
        cvm_aws_http_cancel(exchange);
        return NULL;
    }
    http_start(http);
    return exchange;
}
