/* A whole connection: the HTTP transport's own code over a socket pair, with an instance whose
 * store and platform are stubs that answer at once, all in one thread, so that an input always does
 * the same. Each request gets at most one answer, answers are well-formed, nothing is left behind.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>

#include "core/instance.h"
#include "core/token.h"
#include "transports/http/server.h"

#define UID         "FUZZ0001"
#define TOKEN       "0123456789abcdef"
#define MOST_TURNS  20000 /* of the loops, for one part */
#define QUIET_TURNS 3

enum {
    BEHIND_PROXY = 1,
    PROXY_HEADER = 2,
    LEAVE_EARLY = 4,
    NO_TIME = 8,
    LEGACY = 16,
    NO_DEVICE = 32
};

/* --- The store and the platform --------------------------------------------------------------- */

static const cvm_host_t *host;
static uint8_t flags;

static cvm_answer_t stub_create(const cvm_host_t *its_host, cvm_context_t *context, void *user_data,
    const char *location, void **self, char *error, size_t error_size)
{
    (void)user_data;
    (void)context;
    (void)location;
    (void)error;
    (void)error_size;
    host = its_host;
    *self = &host;
    return CVM_ANSWER_OK;
}

static void stub_ok(void *self, cvm_op_t *op)
{
    (void)self;
    host->complete(op, CVM_ANSWER_OK, NULL);
}

static void stub_destroy(void *self)
{
    (void)self;
}

static void stub_open(void *self, cvm_op_t *op, uint32_t how)
{
    (void)how;
    stub_ok(self, op);
}

/* What a registration of a device that never was registered does not ask for. */
static void stub_get_certificates(void *self, cvm_op_t *op, const char *uid, uint32_t limit)
{
    (void)uid;
    (void)limit;
    stub_ok(self, op);
}

static void stub_scan(void *self, cvm_op_t *op, cvm_scan_t what, const char *cursor,
    int64_t before_ms, uint32_t limit)
{
    (void)what;
    (void)cursor;
    (void)before_ms;
    (void)limit;
    stub_ok(self, op);
}

static void stub_load(void *self, cvm_op_t *op, const cvm_loading_t *loading)
{
    (void)loading;
    stub_ok(self, op);
}

static void stub_meta_get(void *self, cvm_op_t *op, const char *name)
{
    (void)self;
    (void)name;
    host->complete(op, CVM_ANSWER_NOT_FOUND, NULL);
}

static void stub_meta_put(
    void *self, cvm_op_t *op, const char *name, int64_t version, const char *wanted)
{
    (void)name;
    (void)version;
    (void)wanted;
    stub_ok(self, op);
}

static void stub_get(void *self, cvm_op_t *op, const char *uid)
{
    char hash[CVM_TOKEN_HASH_SIZE];
    (void)self;
    if (flags & NO_DEVICE || strcmp(uid, UID) != 0) {
        host->complete(op, CVM_ANSWER_NOT_FOUND, NULL);
        return;
    }
    cvm_record_t *device = host->record_new(CVM_RECORD_DEVICE);
    CHECK(device && !cvm_token_hash(TOKEN, hash) &&
          !host->set_text(device, CVM_D_DEVICE_UID, UID) &&
          !host->set_text(device, CVM_D_DEVICE_TOKEN, hash) &&
          !host->set_number(device, CVM_D_IS_ENABLED, 1) && !host->op_add_record(op, device));
    host->complete(op, CVM_ANSWER_OK, NULL);
}

static void stub_swap(void *self, cvm_op_t *op, const cvm_change_t *change)
{
    (void)self;
    CHECK(change->wanted && change->certificate_count == 1);
    host->complete(op, CVM_ANSWER_OK, NULL);
}

static void stub_prepare(
    void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    (void)self;
    (void)device;
    (void)certificate;
    CHECK(!host->op_set_text(op, CVM_OUT_ENDPOINT, "localhost") &&
          !host->op_set_text(op, CVM_OUT_ROOT_CA, "root\n"));
    host->complete(op, CVM_ANSWER_OK, NULL);
}

static void stub_certify(
    void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    cvm_record_t *made = host->record_new(CVM_RECORD_CERTIFICATE);
    (void)self;
    (void)device;
    (void)certificate;
    CHECK(made && !host->set_text(made, CVM_C_CERTIFICATE_ID, "id") &&
          !host->set_text(made, CVM_C_SERIAL, "01") &&
          !host->set_number(made, CVM_C_NOT_AFTER, INT64_MAX) &&
          !host->set_text(made, CVM_C_PEM, "certificate\n") && !host->op_add_record(op, made));
    host->complete(op, CVM_ANSWER_OK, NULL);
}

static const cvm_store_ops_t STORE = {.size = sizeof STORE,
    .device_fields = CVM_DEVICE_FIELD_COUNT,
    .certificate_fields = CVM_CERTIFICATE_FIELD_COUNT,
    .create = stub_create,
    .open = stub_open,
    .ready = stub_ok,
    .get = stub_get,
    .swap = stub_swap,
    .get_certificates = stub_get_certificates,
    .scan = stub_scan,
    .load = stub_load,
    .meta_get = stub_meta_get,
    .meta_put = stub_meta_put,
    .remove = stub_swap,
    .close = stub_ok,
    .destroy = stub_destroy};
static const cvm_platform_ops_t PLATFORM = {.size = sizeof PLATFORM,
    .create = stub_create,
    .open = stub_open,
    .prepare = stub_prepare,
    .create_certificate = stub_certify,
    .close = stub_ok,
    .destroy = stub_destroy};

static int32_t add_stubs(const cvm_host_t *its_host, cvm_registry_t *registry, void *user_data)
{
    return its_host->add_store(registry, "stub", &STORE, user_data, NULL, 0) ||
           its_host->add_platform(registry, "stub", &PLATFORM, user_data, NULL, 0);
}

/* --- The instance and its server -------------------------------------------------------------- */

static void serve_live(struct connection *connection)
{
    static const char LIVE[] = "{\"live\":true}\n";
    cvm_connection_answer(connection, 200, "application/json", NULL, LIVE, sizeof LIVE - 1);
}

static const struct route ROUTES[] = {{"/registration", {"POST", NULL}, 1, cvm_serve_registration},
    {"/livez", {"GET", "HEAD", NULL}, 0, serve_live},
    {"/readyz", {"GET", "HEAD", NULL}, 0, cvm_serve_ready}, {NULL, {NULL}, 0, NULL}};

static cvm_t *cvm;
static struct server server;
static struct worker worker;

static void is_started(void *user_data, const cvm_error_t *error)
{
    (void)user_data;
    CHECK(!error);
}

static void start_instance(void)
{
    static const char CONF[] = "store = stub:x\nplatform = stub:x\nreconcile.interval = 0\n"
                               "limit.failures_per_address = 1/min\nlog.file = /dev/null\n";
    cvm_conf_t *conf = cvm_conf_new();
    CHECK(conf && !cvm_conf_add_plugin(conf, add_stubs, NULL) &&
          !cvm_conf_parse(conf, CONF, sizeof CONF - 1, "conf", "."));
    CHECK(!cvm_new(conf, &cvm) && !cvm_start(cvm, is_started, NULL));
    cvm_conf_free(conf);
    while (!cvm_is_ready(cvm))
        cvm_process(cvm);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    start_instance();
    server.listener.cvm = cvm;
    server.listener.label = "http";
    server.routes = ROUTES;
    server.limits = cvm_limits_new(1, 1);
    server.listener.requests = cvm_limits_new(1, 1);
    cvm_tls_init(&server.tls);
    CHECK(server.limits && server.listener.requests);
    worker.server = &server;
    CHECK(!cvm_worker_init(&worker.base, &server.running, NULL));
    return 0;
}

static void configure(void)
{
    uint64_t most_ms = flags & NO_TIME ? 0 : 3600000;
    server.timeouts = (struct timeouts){3600000, most_ms, 3600000, 3600000, 3600000};
    server.legacy_status = (flags & LEGACY) != 0;
    server.proxy_protocol = (flags & PROXY_HEADER) != 0;
    CHECK(!cvm_networks_parse(
        &server.listener.trusted, flags & (BEHIND_PROXY | PROXY_HEADER) ? "192.0.2.0/24" : ""));
}

/* --- What comes back -------------------------------------------------------------------------- */

struct answers {
    char *bytes;
    size_t length, size;
    int32_t is_closed;
};

static void read_some(struct answers *answers, int fd)
{
    for (;;) {
        if (answers->size - answers->length < 4096) {
            answers->size = 2 * answers->size + 8192;
            answers->bytes = realloc(answers->bytes, answers->size);
            CHECK(answers->bytes);
        }
        ssize_t count = recv(fd, answers->bytes + answers->length, 4096, 0);
        if (count <= 0) {
            answers->is_closed |= count == 0;
            return;
        }
        answers->length += (size_t)count;
    }
}

/* Of what holds the worker, beside itself and the one connection. */
static uint32_t exchanges(void)
{
    return worker.base.held - 1 - (worker.connections != NULL);
}

/* Turns both loops until nothing more comes of it. */
static void turn(struct answers *answers, int fd)
{
    uint32_t quiet = 0, turns = 0;
    while (quiet < QUIET_TURNS) {
        size_t before = answers->length;
        cvm_loop_process(worker.base.loop);
        cvm_process(cvm);
        if (fd >= 0)
            read_some(answers, fd);
        quiet = answers->length > before || exchanges() || cvm->registration_count ? 0 : quiet + 1;
        CHECK(++turns < MOST_TURNS);
    }
}

/* What the requests were, read by the parser alone. */
struct expected {
    uint32_t count;
    uint8_t is_head[FUZZ_LARGEST_STREAM / 16]; /* no request is shorter */
};

static void on_head(struct cvm_parser *parser)
{
    (void)parser;
}

static void expect(struct expected *expected, const uint8_t *bytes, size_t length)
{
    struct cvm_parser parser;
    enum cvm_parsed parsed = PARSED_REQUEST;
    cvm_parser_init(&parser, "x-forwarded-for", on_head, NULL);
    for (expected->count = 0; length && parsed == PARSED_REQUEST;) {
        size_t used = 0;
        parsed = cvm_parser_feed(&parser, (const char *)bytes, length, &used);
        expected->is_head[expected->count] = (uint8_t)parser.is_head;
        expected->count += 1; /* one that is unfinished may be answered too: refused, or too late */
        bytes += used;
        length -= used;
        if (parsed == PARSED_REQUEST)
            cvm_parser_next(&parser);
    }
    cvm_parser_clear(&parser);
}

static void check_body(const char *body, size_t length, uint32_t status)
{
    json_error_t error;
    json_t *answer = json_loadb(body, length, JSON_REJECT_DUPLICATES, &error);
    const json_t *code = json_object_get(answer, "statusCode");
    CHECK(answer);
    if (code && !(flags & LEGACY))
        CHECK(json_integer_value(code) == (json_int_t)status);
    if (code)
        CHECK(json_is_object(json_object_get(answer, "payload")));
    json_decref(answer);
}

/* Takes one answer off; 0 if it was an interim one, else 1. */
static uint32_t take_answer(const char **at, size_t *left, uint8_t is_head)
{
    const char *end = memmem(*at, *left, "\r\n\r\n", 4), *field;
    uint32_t status = 0;
    CHECK(end && strncmp(*at, "HTTP/1.1 ", 9) == 0);
    size_t head = (size_t)(end - *at) + 4, body = 0;
    status = (uint32_t)strtoul(*at + 9, NULL, 10);
    field = memmem(*at, head, "\r\nContent-Length: ", 18);
    CHECK(status == 100 || field);
    if (field && !is_head)
        body = strtoul(field + 18, NULL, 10);
    CHECK(head + body <= *left);
    if (body)
        check_body(*at + head, body, status);
    *at += head + body;
    *left -= head + body;
    return status != 100;
}

static void check_answers(struct answers *answers, const struct expected *expected)
{
    uint32_t count = 0;
    if (!answers->bytes)
        return;
    answers->bytes[answers->length] = 0; /* there is room: reads leave some */
    const char *at = answers->bytes;
    for (size_t left = answers->length; left;) {
        CHECK(count < expected->count);
        /* A refused HEAD may be answered with a body: it closes the connection. */
        uint8_t is_head = expected->is_head[count];
        count += take_answer(&at, &left, is_head);
    }
}

/* --- A connection ----------------------------------------------------------------------------- */

static void open_connection(int pair[2])
{
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct sockaddr_in *four = (struct sockaddr_in *)(void *)&address;
    four->sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1, for examples (RFC 5737) */
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
    cvm_connection_accept(&worker, pair[0], &address);
    CHECK(worker.connections);
}

static void send_all(struct answers *answers, const struct fuzz_stream *stream, int fd)
{
    size_t offset = 0;
    for (size_t i = 0; offset < stream->length && !answers->is_closed; i++) {
        size_t part = fuzz_part(stream, i, offset);
        ssize_t sent = send(fd, stream->bytes + offset, part, MSG_NOSIGNAL);
        if (sent < 0 && !worker.connections)
            return;
        offset += sent > 0 ? (size_t)sent : 0;
        turn(answers, flags & LEAVE_EARLY ? -1 : fd);
        if (sent <= 0 && (flags & LEAVE_EARLY || !worker.connections))
            return;
    }
}

/* There is one place, for one address: all was given back if it can be taken. */
static void check_place(struct cvm_limits *limits)
{
    CHECK(!cvm_limits_enter(limits, "192.0.2.1"));
    cvm_limits_leave(limits, "192.0.2.1");
}

/* The peer is gone: all goes, without waiting for a deadline. */
static void check_nothing_left(void)
{
    for (uint32_t turns = 0; worker.base.held > 1; turns++) {
        cvm_loop_process(worker.base.loop);
        cvm_process(cvm);
        CHECK(turns < MOST_TURNS);
    }
    CHECK(!cvm->registration_count);
    check_place(server.limits);
    check_place(server.listener.requests);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct expected expected;
    struct fuzz_bytes bytes = {data, size};
    struct fuzz_stream stream;
    struct answers answers = {NULL, 0, 0, 0};
    int pair[2];
    flags = fuzz_byte(&bytes);
    fuzz_read_stream(&bytes, &stream);
    configure();
    open_connection(pair);
    send_all(&answers, &stream, pair[1]);
    if (!(flags & LEAVE_EARLY)) {
        (void)shutdown(pair[1], SHUT_WR);
        turn(&answers, pair[1]);
    }
    (void)close(pair[1]);
    check_nothing_left();
    if (!(flags & (PROXY_HEADER | LEAVE_EARLY))) {
        expect(&expected, stream.bytes, stream.length);
        check_answers(&answers, &expected);
    }
    cvm_networks_clear(&server.listener.trusted);
    free(answers.bytes);
    free(stream.bytes);
    return 0;
}
