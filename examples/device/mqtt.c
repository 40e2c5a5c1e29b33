/* MQTT 5 by libmosquitto, over a TLS context of ours: given one (MOSQ_OPT_SSL_CTX, and
 * …_WITH_DEFAULTS off) libmosquitto checks nothing itself, not even the broker's name: trust.c has
 * all the rules. MQTT 5, because 3.1.1 can't say that a publication was not allowed. */
#include "mqtt.h"

#include "endpoint.h"
#include "report.h"
#include "stop.h"
#include "trust.h"

#include <errno.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>

enum { KEEPALIVE_S = 60, CONNECT_LIMIT_S = 10, QOS_AT_LEAST_ONCE = 1, NO_ANSWER = -1 };

struct session {
    struct hello *hello;
    struct endpoint endpoint;
    struct mosquitto *client;
    SSL_CTX *tls;
    int64_t deadline_ms;
    int connack; /* reason codes (MQTT 5 §2.4), or NO_ANSWER */
    int puback;
    int error; /* libmosquitto's, once the connection is gone */
    bool timed_out;
    int alert;         /* the TLS alert by which the broker refused us, 0 if none */
    long verify_error; /* why we refused the broker, X509_V_OK if we didn't */
};

static void on_connack(struct mosquitto *client, void *user, int reason, int flags,
    const mosquitto_property *properties)
{
    (void)client, (void)flags, (void)properties;
    struct session *session = user;
    session->connack = reason;
}

static void on_puback(struct mosquitto *client, void *user, int message_id, int reason,
    const mosquitto_property *properties)
{
    (void)client, (void)message_id, (void)properties;
    struct session *session = user;
    session->puback = reason;
}

/* A broker that refuses a certificate sends an alert and resets the connection. libmosquitto gives
 * up at the first write that fails, with the alert unread. To let it read on, such a write is
 * passed off as "not now"; turn() notices that the connection is gone. */
static long on_socket(BIO *socket, int operation, const char *data, size_t length, int number,
    long argument, int result, size_t *processed)
{
    (void)data, (void)length, (void)number, (void)argument, (void)processed;
    const bool wrote = operation == (BIO_CB_WRITE | BIO_CB_RETURN);
    if (wrote && result <= 0 && (errno == ECONNRESET || errno == EPIPE)) {
        BIO_set_retry_write(socket);
    }
    return result;
}

/* Notes fatal alerts: one that comes in says that the broker refuses us, one that goes out that we
 * refuse the broker. With TLS 1.3 the former comes after the handshake has seemed to succeed. */
static void on_tls_event(const SSL *ssl, int where, int what)
{
    struct session *session = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const bool fatal = (what >> 8) == SSL3_AL_FATAL;
    if (where == SSL_CB_HANDSHAKE_START) {
        BIO_set_callback_ex(SSL_get_rbio(ssl), on_socket);
    } else if (where == SSL_CB_READ_ALERT && fatal) {
        session->alert = what;
    } else if (where == SSL_CB_WRITE_ALERT && fatal) {
        session->verify_error = SSL_get_verify_result(ssl);
    }
}

static bool use_credentials(SSL_CTX *tls, const struct credentials *credentials)
{
    const cert_stack *chain = credentials->chain;
    bool used = SSL_CTX_use_certificate(tls, sk_X509_value(chain, 0)) == 1 &&
                SSL_CTX_use_PrivateKey(tls, credentials->key) == 1;
    for (int i = 1; used && i < sk_X509_num(chain); i++) {
        used = SSL_CTX_add1_chain_cert(tls, sk_X509_value(chain, i)) == 1;
    }
    return used;
}

static SSL_CTX *tls_new(struct session *session)
{
    const struct credentials *credentials = session->hello->credentials;
    const struct trust trust = {
        .anchors = credentials->roots, .now = session->hello->now, .host = session->endpoint.host};
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (tls != NULL && (!trust_apply(tls, &trust) || !use_credentials(tls, credentials))) {
        SSL_CTX_free(tls);
        return NULL;
    }
    SSL_CTX_set_app_data(tls, session);
    SSL_CTX_set_info_callback(tls, on_tls_event);
    return tls;
}

static bool session_open(struct session *session)
{
    session->tls = tls_new(session);
    session->client = mosquitto_new(session->hello->credentials->thing_name, true, session);
    if (session->tls == NULL || session->client == NULL) {
        return false;
    }
    mosquitto_connect_v5_callback_set(session->client, on_connack);
    mosquitto_publish_v5_callback_set(session->client, on_puback);
    struct mosquitto *client = session->client;
    return mosquitto_int_option(client, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5) == 0 &&
           mosquitto_int_option(client, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0) == 0 &&
           mosquitto_void_option(client, MOSQ_OPT_SSL_CTX, session->tls) == 0;
}

static void session_close(struct session *session)
{
    mosquitto_destroy(session->client);
    SSL_CTX_free(session->tls);
}

static void on_alarm(int signal_number)
{
    (void)signal_number;
}

/* mosquitto_connect blocks for as long as the kernel tries. A repeated alarm interrupts it, so that
 * it goes on to the host's next address, and in the end returns. */
static int connect_bounded(struct session *session)
{
    const struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    struct sigaction old;
    const struct itimerval limit = {{CONNECT_LIMIT_S, 0}, {CONNECT_LIMIT_S, 0}};
    const struct itimerval off = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &limit, NULL);
    const int error = mosquitto_connect(
        session->client, session->endpoint.host, session->endpoint.port, KEEPALIVE_S);
    const int saved = errno;
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &old, NULL);
    errno = saved;
    return error;
}

/* One turn of the connection's loop. Reads before it writes: a refusal may wait to be read from a
 * socket that can no longer be written to. */
static void turn(struct session *session, int64_t wait_ms)
{
    struct pollfd fds[] = {
        {.fd = mosquitto_socket(session->client), .events = POLLIN},
        {.fd = session->hello->retry.stop_fd, .events = POLLIN},
    };
    if (mosquitto_want_write(session->client)) {
        fds[0].events |= POLLOUT;
    }
    if (poll(fds, 2, (int)wait_ms) <= 0) {
        return;
    }
    session->error = mosquitto_loop_read(session->client, 1);
    if (session->error == MOSQ_ERR_SUCCESS && mosquitto_want_write(session->client)) {
        session->error = mosquitto_loop_write(session->client, 1);
    }
    /* A reset in mid-handshake is no error to libmosquitto, which would wait for ever. */
    if (session->error == MOSQ_ERR_SUCCESS && (fds[0].revents & (POLLHUP | POLLERR)) != 0) {
        session->error = MOSQ_ERR_CONN_LOST;
    }
}

/* Runs until *answer is there, the connection is gone, time is up or a signal says stop. */
static bool wait_for(struct session *session, const int *answer)
{
    while (*answer == NO_ANSWER && session->error == MOSQ_ERR_SUCCESS &&
           !stop_wait(session->hello->retry.stop_fd, 0)) {
        const int64_t left_ms = session->deadline_ms - monotonic_ms();
        if (left_ms <= 0) {
            session->timed_out = true;
            break;
        }
        turn(session, left_ms);
    }
    return *answer != NO_ANSWER;
}

static bool is_refusal(int reason)
{
    return reason == MQTT_RC_CLIENTID_NOT_VALID || reason == MQTT_RC_BAD_USERNAME_OR_PASSWORD ||
           reason == MQTT_RC_NOT_AUTHORIZED || reason == MQTT_RC_BANNED;
}

/* Alerts that are about the certificate (RFC 8446 §6.2); others are of the connection only. */
static bool is_certificate_alert(int alert)
{
    switch (alert & 0xff) {
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

static const char *why_lost(const struct session *session)
{
    if (session->timed_out) {
        return "no answer in time";
    }
    return session->error == MOSQ_ERR_ERRNO ? strerror(errno) : mosquitto_strerror(session->error);
}

static void judge_lost(const struct session *session, struct attempt *attempt)
{
    const char *endpoint = session->hello->credentials->endpoint;
    if (session->verify_error != X509_V_OK) {
        attempt_failed(attempt, EX_DATAERR, false, "%s: the broker is not trusted: %s", endpoint,
            X509_verify_cert_error_string(session->verify_error));
    } else if (is_certificate_alert(session->alert)) {
        attempt_failed(attempt, EX_NOPERM, false,
            "%s: the broker refuses the device's certificate: %s; nothing was discarded", endpoint,
            SSL_alert_desc_string_long(session->alert));
    } else {
        attempt_failed(
            attempt, EX_UNAVAILABLE, true, "%s: broker: %s", endpoint, why_lost(session));
    }
}

static void judge_reason(
    const struct session *session, int reason, const char *what, struct attempt *attempt)
{
    const bool refused = is_refusal(reason);
    attempt_failed(attempt, refused ? EX_NOPERM : EX_UNAVAILABLE, !refused,
        "%s: the broker answers %s with: %s; nothing was discarded",
        session->hello->credentials->endpoint, what, mosquitto_reason_string(reason));
}

static void converse(struct session *session, struct attempt *attempt)
{
    const struct hello *hello = session->hello;
    session->error = connect_bounded(session);
    if (!wait_for(session, &session->connack)) {
        judge_lost(session, attempt);
        return;
    }
    if (session->connack != MQTT_RC_SUCCESS) {
        judge_reason(session, session->connack, "the connection", attempt);
        return;
    }
    session->hello->connected = true;
    session->error = mosquitto_publish_v5(session->client, NULL, hello->topic,
        (int)strlen(hello->message), hello->message, QOS_AT_LEAST_ONCE, false, NULL);
    if (!wait_for(session, &session->puback)) {
        judge_lost(session, attempt);
    } else if (session->puback >= MQTT_RC_UNSPECIFIED) {
        judge_reason(session, session->puback, hello->topic, attempt);
    }
    mosquitto_disconnect(session->client);
}

static void attempt_once(void *subject, struct attempt *attempt)
{
    struct hello *hello = subject;
    struct session session = {.hello = hello,
        .deadline_ms = monotonic_ms() + (int64_t)hello->timeout_s * 1000,
        .connack = NO_ANSWER,
        .puback = NO_ANSWER};
    ERR_clear_error();
    endpoint_parse(hello->credentials->endpoint, &session.endpoint);
    if (session_open(&session)) {
        converse(&session, attempt);
    } else {
        attempt_failed(attempt, EX_DATAERR, false, "%s: the credentials don't fit OpenSSL's rules",
            hello->credentials->endpoint);
    }
    session_close(&session);
}

int mqtt_hello(struct hello *hello)
{
    mosquitto_lib_init();
    const int status = retry_run(&hello->retry, attempt_once, hello);
    mosquitto_lib_cleanup();
    return status;
}

bool mqtt_is_topic(const char *topic)
{
    return topic[0] != '\0' && mosquitto_pub_topic_check(topic) == MOSQ_ERR_SUCCESS;
}
