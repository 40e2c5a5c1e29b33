/* The table of properties, and how the text of each type is read. */
#include "properties.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "backend/registry.h"
#include "base/compat.h"
#include "base/endpoint.h"
#include "base/networks.h"
#include "cvm/cvm.h"
#include "thing.h"

/* clang-format off */
const struct cvm_property CVM_PROPERTIES[] = {
    {"store", TYPE_BACKEND, "file:devices.db", NULL,
     "Where the device records are: file:PATH (SQLite), postgresql://... (a URI of libpq's), or dynamodb:TABLE."},
    {"store.create", TYPE_BOOL, "false", NULL,
     "Whether a server makes an empty store where there is none: a wrong path, or a mount that is late, would refuse the whole fleet."},
    {"store.plain_tokens", TYPE_BOOL, "false", NULL,
     "Whether a literal token in a record is accepted; else only hashes (sha256:...)."},
    {"platform", TYPE_BACKEND, "local:ca", NULL,
     "Who makes certificates: local:FOLDER (the CA that `cvm init` made)."},
    {"module", TYPE_MODULES, "", NULL,
     "Shared objects with further stores and platforms: absolute paths, separated by \":\"."},
    {"module.path", TYPE_PATH, CVM_MODULE_FOLDER, NULL,
     "The folder of the library's own modules: cvm-NAME.so is loaded when `store` or `platform` names NAME and nothing else has it."},
    {"thing.name_format", TYPE_NAME_FORMAT, "thing_%DEVICE_UID%", NULL,
     "The thing's name; holds %DEVICE_UID% exactly once."},
    {"policy.name", TYPE_POLICY, "cvm-device", NULL,
     "The policy that is attached to each certificate, on platforms that have policies."},
    {"reconcile.interval", TYPE_DURATION, "1s", "0 to 1h",
     "How often the records are looked through for what is due (retirement, suspension); 0: never."},
    {"request.deadline", TYPE_DURATION, "15s", "100ms to 5min",
     "How long a registration may take before its caller is told `unknown`."},
    {"registration.reissue_after", TYPE_DURATION, "20s", "0 to 1h",
     "How soon after an issue a device whose key was made here may ask again."},
    {"registration.retry_window", TYPE_DURATION, "10min", "0 to 30d",
     "How long after the first issue such a device may ask again; 0 turns it off."},
    {"registration.retry_max", TYPE_COUNT, "3", "0 to 100",
     "How often such a device may ask again."},
    {"certificate.validity", TYPE_DURATION, "10y", "1h to 50y",
     "How long a device's certificate is valid; never past its issuer's end."},
    {"certificate.not_before_backdate", TYPE_DURATION, "24h", "0 to 10y",
     "How far a certificate's beginning is set back, for slow clocks."},
    {"server_key.type", TYPE_CHOICE, "p256", "p256|rsa2048",
     "The key that is made for a device that sends no CSR."},
    {"ca.crl_url", TYPE_TEXT, "", NULL,
     "Where a certificate's CRL is, as its distribution point says; %KEY_ID% is its issuer's, such as "
     "http://ca.example.com:8080/ca/crl/%KEY_ID%.crl. Empty: certificates name none."},
    {"ca.crl_validity", TYPE_DURATION, "0", "0 to 50y",
     "How long a CRL is valid; it is renewed at half of that. 0: until its issuer ends."},
    {"ca.crl_command", TYPE_TEXT, "", NULL,
     "A shell command that is run after each change of crl.pem, such as one that reloads the broker."},
    {"ca.admit", TYPE_PATH, "", NULL,
     "PEM file of further issuing CAs of this root that the store's servers may have; `cvm ca add` sets it."},
    {"ca.crl_max_lag", TYPE_DURATION, "30s", "2s to 1d",
     "How long a server may not know the store's CRLs, or have an older one in crl.pem, before it is not ready."},
    {"mqtt.endpoint", TYPE_ENDPOINT, "localhost", NULL,
     "What a device of the local platform is told to connect to: HOST, or HOST:PORT if not 8883."},
    {"mqtt.root_ca", TYPE_PATH, "", NULL,
     "PEM file of the broker's trust anchors, if they are not the local root."},
    {"http.listen", TYPE_ADDRESSES, "127.0.0.1:8443", NULL,
     "Where registration is served: ADDRESS:PORT, several separated by commas, port 0 for any; or off."},
    {"http.tls_certificate", TYPE_PATH, "", NULL,
     "PEM file of the server's certificate and chain. Without it: plain HTTP, for behind a proxy."},
    {"http.tls_private_key", TYPE_PATH, "", NULL,
     "PEM file of the server's private key."},
    {"http.legacy_status", TYPE_BOOL, "false", NULL,
     "Answer every request with HTTP 200; only statusCode in the body tells."},
    {"http.trusted_proxies", TYPE_NETWORKS, "", NULL,
     "Addresses or networks (ADDRESS/BITS) of proxies, whose forwarded_header or PROXY header is believed."},
    {"http.forwarded_header", TYPE_CHOICE, "x-forwarded-for", "x-forwarded-for|forwarded",
     "Which header those proxies tell a device's address in (forwarded is RFC 7239's); the other one may be the "
     "device's own, and is not looked at."},
    {"http.proxy_protocol", TYPE_BOOL, "off", NULL,
     "Whether connections from trusted proxies begin with a PROXY header (v1 or v2)."},
    {"http.handshake_timeout", TYPE_DURATION, "30s", "10ms to 10min",
     "How long a TLS handshake may take; no longer than 5s while half of limit.handshakes is taken."},
    {"http.request_timeout", TYPE_DURATION, "15s", "10ms to 10min",
     "How long a request may take to arrive, from its first byte to its last."},
    {"http.answer_timeout", TYPE_DURATION, "15s", "10ms to 10min",
     "How long a peer may take to read an answer."},
    {"http.idle_timeout", TYPE_DURATION, "60s", "10ms to 1h",
     "How long a connection may wait between requests."},
    {"limit.requests", TYPE_COUNT, "4096", "1 to 1000000",
     "Registrations in flight; more are answered `overloaded`."},
    {"limit.connections", TYPE_COUNT, "10000", "1 to 1000000",
     "Open connections in total."},
    {"limit.connections_per_address", TYPE_COUNT, "256", "1 to 1000000",
     "Open connections, and requests in flight, of one address (IPv6: one /64) as trusted proxies tell it; "
     "connections of which a proxy tells no address, or only in a header, count in the total alone."},
    {"limit.handshakes", TYPE_COUNT, "1024", "1 to 65536",
     "TLS handshakes that are under way; for one more the oldest of the address that has most is closed."},
    {"limit.handshakes_per_address", TYPE_COUNT, "64", "1 to 65536",
     "TLS handshakes of one address (as for connections) that are under way; for one more its oldest is closed."},
    {"limit.failures_per_address", TYPE_RATE, "60/min", "0 to 1000000/min",
     "Failed proofs from one address before 429 is answered instead of 403; 0 turns it off."},
    {"ca.listen", TYPE_ADDRESSES, "off", NULL,
     "Where CRLs and CA certificates are served by plain HTTP, under /ca/, for brokers that fetch them; http.listen does so too."},
    {"ops.listen", TYPE_ADDRESSES, "off", NULL,
     "Where the operator's listener is (plain HTTP): /metrics, /livez, /readyz."},
    {"workers", TYPE_COUNT, "1", "1 to 64",
     "Threads that serve connections."},
    {"log.level", TYPE_CHOICE, "info", "error|warning|info|debug",
     "How much is logged."},
    {"log.format", TYPE_CHOICE, "text", "text|json",
     "How log lines look."},
    {"log.deliver", TYPE_CHOICE, "thread", "thread|loop",
     "Where a program's own log and audit functions are called: in the thread that a line comes from, or on the loop "
     "(what it is too slow for is dropped and counted). Files don't care."},
    {"log.file", TYPE_PATH, "", NULL,
     "Where log lines go; standard error without it."},
    {"log.refusals_per_address", TYPE_RATE, "60/min", "0 to 1000000/min",
     "Lines about failed requests and handshakes (and of clones in the audit) that one address is written for each "
     "reason; what is beyond is summed up each 10 s. 0: no bound."},
    {"log.refusals", TYPE_RATE, "600/min", "0 to 1000000/min",
     "The same lines of all addresses and reasons. 0: no bound."},
    {"audit.file", TYPE_PATH, "", NULL,
     "Where each change of state is written as a JSON line; nowhere without it."},
};
/* clang-format on */
const uint32_t CVM_PROPERTY_COUNT = sizeof CVM_PROPERTIES / sizeof CVM_PROPERTIES[0];

/* ADDRESS:PORT or [ADDRESS]:PORT, of length bytes. 0, or -1. */
static int32_t check_address(const char *value, size_t length)
{
    char host[64], bytes[16];
    const char *colon = memrchr(value, ':', length);
    size_t host_length = colon ? (size_t)(colon - value) : 0, digits = length - host_length - 1;
    int family = AF_INET;
    if (!host_length || host_length >= sizeof host || digits == 0 || digits > 5 ||
        strspn(colon + 1, "0123456789") < digits || strtol(colon + 1, NULL, 10) > UINT16_MAX)
        return -1;
    (void)snprintf(host, sizeof host, "%.*s", (int)host_length, value);
    if (*host == '[' && host[host_length - 1] == ']') {
        host[host_length - 1] = 0;
        family = AF_INET6;
    }
    return inet_pton(family, family == AF_INET6 ? host + 1 : host, bytes) == 1 ? 0 : -1;
}

/* Addresses separated by commas and spaces, or "off". 0, or -1. */
static int32_t check_addresses(const char *value)
{
    uint32_t count = 0;
    if (strcmp(value, "off") == 0)
        return 0;
    for (value += strspn(value, ", "); *value; value += strspn(value, ", "), count++) {
        size_t length = strcspn(value, ", ");
        if (check_address(value, length))
            return -1;
        value += length;
    }
    return count ? 0 : -1;
}

static int32_t check_backend(const char *value)
{
    size_t length = strcspn(value, ":");
    return length && length < CVM_BACKEND_NAME_SIZE &&
                   strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-") >= length
               ? 0
               : -1;
}

static int32_t check_modules(const char *value)
{
    while (*value == '/') {
        value += strcspn(value, ":");
        value += *value == ':';
    }
    return *value ? -1 : 0;
}

static int32_t check_name_format(const char *value)
{
    return cvm_thing_format_is_valid(value, CVM_THING_NAME_SIZE - 1) ? 0 : -1;
}

struct unit {
    const char *suffix;
    int64_t factor;
};

static const struct unit COUNT_UNITS[] = {
    {"", 1}, {"k", 1024}, {"M", INT64_C(1) << 20}, {"G", INT64_C(1) << 30}, {NULL, 0}};
static const struct unit DURATION_UNITS[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000},
    {"d", 86400000}, {"y", INT64_C(31536000000)}, {NULL, 0}};
static const struct unit RATE_UNITS[] = {{"/s", 60}, {"/min", 1}, {NULL, 0}};

/* A whole number with one of the units; 0 needs none. 0, or -1. */
static int32_t parse_number(const char *value, const struct unit *units, int64_t *number)
{
    if (!isdigit((unsigned char)*value))
        return -1;
    char *end;
    errno = 0;
    long long count = strtoll(value, &end, 10);
    if (errno)
        return -1;
    if (count == 0 && !*end) {
        *number = 0;
        return 0;
    }
    for (; units->suffix; units++)
        if (strcmp(end, units->suffix) == 0)
            return __builtin_mul_overflow((int64_t)count, units->factor, number) ? -1 : 0;
    return -1;
}

static int32_t parse_bool(const char *value, int64_t *number)
{
    *number = strcmp(value, "true") == 0 || strcmp(value, "on") == 0;
    return *number || strcmp(value, "false") == 0 || strcmp(value, "off") == 0 ? 0 : -1;
}

static int32_t parse_choice(const char *choices, const char *value, int64_t *number)
{
    size_t length = strlen(value);
    for (*number = 0;; (*number)++) {
        size_t choice = strcspn(choices, "|");
        if (choice == length && memcmp(choices, value, length) == 0)
            return 0;
        if (!choices[choice])
            return -1;
        choices += choice + 1;
    }
}

/* range: "LEAST to MOST". 0, or -1. */
static int32_t in_range(const char *range, const struct unit *units, int64_t number)
{
    static const char TO[] = " to ";
    char first[32];
    const char *to = strstr(range, TO);
    int64_t least, most;
    if (to - range >= (ptrdiff_t)sizeof first) /* a plugin's */
        return -1;
    (void)snprintf(first, sizeof first, "%.*s", (int)(to - range), range);
    return parse_number(first, units, &least) || parse_number(to + sizeof TO - 1, units, &most) ||
                   number < least || number > most
               ? -1
               : 0;
}

static int32_t check_networks(const char *value)
{
    struct cvm_networks networks;
    int32_t failed = cvm_networks_parse(&networks, value);
    if (!failed)
        cvm_networks_clear(&networks);
    return failed < 0 ? -1 : 0; /* without memory its reader says so */
}

static int32_t check_endpoint(const char *value)
{
    struct cvm_endpoint endpoint;
    return cvm_endpoint_parse(value, CVM_MQTT_PORT, &endpoint);
}

/* AWS IoT's policyName: [\w+=,.@-]{1,128} */
static int32_t check_policy(const char *value)
{
    size_t length = strlen(value);
    return length && length <= 128 &&
                   strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                 "_+=,.@-") == length
               ? 0
               : -1;
}

/* What a type takes: its name, how that is shown, and how it is checked. Numbers have units, and a
 * range in their property's row. */
static const struct {
    const char *name, *form;
    int32_t (*check)(const char *value);
    const struct unit *units;
    const char *unit_names;
} TYPES[] = {
    [TYPE_TEXT] = {"text", "", NULL, NULL, NULL}, /* its reader says what is wrong with it */
    [TYPE_SECRET] = {"secret", "", NULL, NULL, NULL},
    [TYPE_PATH] = {"path", "", NULL, NULL, NULL},
    [TYPE_BACKEND] = {"backend", "NAME | NAME:LOCATION", check_backend, NULL, NULL},
    [TYPE_MODULES] = {"modules", "/PATH.so:...", check_modules, NULL, NULL},
    [TYPE_ADDRESSES] = {"addresses", "ADDRESS:PORT, [ADDRESS]:PORT, ... | off", check_addresses,
        NULL, NULL},
    [TYPE_NETWORKS] = {"networks", "ADDRESS[/BITS], ...", check_networks, NULL, NULL},
    [TYPE_ENDPOINT] = {"endpoint", "HOST | HOST:PORT | [ADDRESS]:PORT", check_endpoint, NULL, NULL},
    [TYPE_NAME_FORMAT] = {"format", "A-Z a-z 0-9 : _ - and %DEVICE_UID% once", check_name_format,
        NULL, NULL},
    [TYPE_POLICY] = {"name", "1 to 128 of A-Z a-z 0-9 _+=,.@-", check_policy, NULL, NULL},
    [TYPE_BOOL] = {"bool", "true | false | on | off", NULL, NULL, NULL},
    [TYPE_COUNT] = {"count", "", NULL, COUNT_UNITS, " (with k, M, G)"},
    [TYPE_DURATION] = {"duration", "", NULL, DURATION_UNITS, " (with ms, s, min, h, d, y)"},
    [TYPE_RATE] = {"rate", "", NULL, RATE_UNITS, " (with /s, /min)"},
    [TYPE_CHOICE] = {"choice", "", NULL, NULL, NULL},
};

int32_t cvm_property_parse(const struct cvm_property *property, const char *value, int64_t *number)
{
    const struct unit *units = TYPES[property->type].units;
    *number = 0;
    if (property->type == TYPE_BOOL)
        return parse_bool(value, number);
    if (property->type == TYPE_CHOICE)
        return parse_choice(property->range, value, number);
    if (units)
        return parse_number(value, units, number) ? -1 : in_range(property->range, units, *number);
    return TYPES[property->type].check ? TYPES[property->type].check(value) : 0;
}

void cvm_property_form(const struct cvm_property *property, char *text, size_t size)
{
    const char *units = TYPES[property->type].unit_names;
    (void)snprintf(text, size, "%s%s",
        property->range ? property->range : TYPES[property->type].form, units ? units : "");
}

const char *cvm_property_type_name(const struct cvm_property *property)
{
    return TYPES[property->type].name;
}

const char *cvm_property_takes(const struct cvm_property *property)
{
    return property->range ? property->range : TYPES[property->type].form;
}

int32_t cvm_property_is_library(const char *name)
{
    size_t length = strcspn(name, ".");
    for (uint32_t i = 0; i < CVM_PROPERTY_COUNT; i++)
        if (strcspn(CVM_PROPERTIES[i].name, ".") == length &&
            memcmp(CVM_PROPERTIES[i].name, name, length) == 0)
            return 1;
    return 0;
}
