/* A device's first minute: take the credentials that are held, or register for some; connect with
 * them; and only when that has worked let them take the place of older ones. Read run() first. */
#include "clock.h"
#include "credentials.h"
#include "files.h"
#include "identity.h"
#include "mqtt.h"
#include "options.h"
#include "pem.h"
#include "registration.h"
#include "report.h"
#include "stop.h"
#include "store.h"
#include "token.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

enum { CA_FILE_SIZE = 65536, TOPIC_SIZE = 256, MESSAGE_SIZE = 256 };

struct device {
    const struct options *options;
    int stop_fd;
    struct store store;
    struct credentials credentials;
    bool registered; /* in this run */
    bool connected;
    bool published;
};

static struct retry retry_of(const struct device *device)
{
    return (struct retry){.retries = device->options->retries,
        .base_s = device->options->retry_base_s,
        .stop_fd = device->stop_fd};
}

/* Anything said in passing; with --json there is one object at the end instead. */
static void say(const struct device *device, const char *what, const char *about)
{
    if (!device->options->json) {
        printf("%s %s\n", what, about);
        fflush(stdout);
    }
}

static int load_ca(const char *path, cert_stack **ca)
{
    char text[CA_FILE_SIZE];
    if (file_read(AT_FDCWD, path, text, sizeof text) < 0) {
        return report(EX_CONFIG, "%s: %s", path, strerror(errno));
    }
    *ca = pem_certificates(text);
    return *ca != NULL ? EX_OK : report(EX_CONFIG, "%s: must hold certificates as PEM", path);
}

static int ask(struct device *device, struct registration *registration)
{
    time_t server_time = 0;
    int status = registration_run(registration, &device->credentials, &server_time);
    if (status == EX_OK) {
        status = store_save(&device->store, &device->credentials);
    }
    if (status == EX_OK) {
        device->registered = true;
        say(device, "registered", device->credentials.thing_name);
        status = clock_remember(&device->store, server_time);
    }
    return status;
}

/* Registers and stores what comes back as untried. */
static int get_credentials(struct device *device)
{
    const struct options *options = device->options;
    char token[TOKEN_SIZE];
    cert_stack *ca = NULL;
    struct registration registration = {.uid = options->token.uid,
        .token = token,
        .http = {.url = options->url,
            .now = clock_now(&device->store),
            .timeout_s = options->timeout_s,
            .stop_fd = device->stop_fd},
        .retry = retry_of(device)};

    int status = load_ca(options->ca_file, &ca);
    if (status == EX_OK && !options->server_key) {
        status = identity_key(&device->store, &registration.key);
    }
    if (status == EX_OK) {
        status = token_get(&options->token, token);
    }
    if (status == EX_OK) {
        registration.http.ca = ca;
        status = ask(device, &registration);
    }
    OPENSSL_cleanse(token, sizeof token);
    EVP_PKEY_free(registration.key);
    sk_X509_pop_free(ca, X509_free);
    return status;
}

/* Connects, says hello, and promotes credentials that have connected for the first time. */
static int use_credentials(struct device *device, bool untried)
{
    const struct options *options = device->options;
    const char *thing_name = device->credentials.thing_name;
    char topic[TOPIC_SIZE];
    char message[MESSAGE_SIZE];
    snprintf(topic, sizeof topic, "things/%s/hello", thing_name);
    snprintf(message, sizeof message, "{\"message\":\"hello\",\"thing_name\":\"%s\"}", thing_name);
    struct hello hello = {.credentials = &device->credentials,
        .topic = options->topic != NULL ? options->topic : topic,
        .message = options->message != NULL ? options->message : message,
        .now = clock_now(&device->store),
        .timeout_s = options->timeout_s,
        .retry = retry_of(device)};

    int status = mqtt_hello(&hello);
    device->connected = hello.connected;
    device->published = status == EX_OK;
    if (device->connected) {
        say(device, "connected to", device->credentials.endpoint);
    }
    if (device->published) {
        say(device, "published to", hello.topic);
    }
    if (device->connected && untried) {
        const int promoted = store_promote(&device->store);
        status = status != EX_OK ? status : promoted;
    }
    return status;
}

/* Credentials that have not been tried yet come first, always: who asks again while it holds some
 * would make the server retire what it has just issued. */
static const char *set_to_use(const struct device *device)
{
    if (store_holds(&device->store, STORE_UNTRIED)) {
        return STORE_UNTRIED;
    }
    const bool current = store_holds(&device->store, STORE_CURRENT);
    return current && !device->options->again ? STORE_CURRENT : NULL;
}

static int load_credentials(struct device *device, const char *set)
{
    const int status = store_load(&device->store, set, &device->credentials);
    if (status != EX_OK) {
        return status;
    }
    const char *problem = credentials_problem(&device->credentials, clock_now(&device->store));
    if (problem != NULL) {
        return report(EX_DATAERR, "%s/%s: %s", device->store.path, set, problem);
    }
    say(device, "holding credentials of", device->credentials.thing_name);
    return EX_OK;
}

static int run(struct device *device)
{
    int status = store_open(&device->store, device->options->dir);
    if (status != EX_OK) {
        return status;
    }
    const char *set = set_to_use(device);
    if (set != NULL) {
        status = load_credentials(device, set);
    } else if (device->options->connect_only) {
        status = report(
            EX_CONFIG, "%s holds no credentials; run without --connect-only", device->options->dir);
    } else {
        set = STORE_UNTRIED;
        status = get_credentials(device);
    }
    if (status == EX_OK && !device->options->register_only) {
        status = use_credentials(device, strcmp(set, STORE_UNTRIED) == 0);
    }
    return status;
}

static void print_json(const struct device *device)
{
    const struct credentials *credentials = &device->credentials;
    cJSON *object = cJSON_CreateObject();
    cJSON_AddBoolToObject(object, "registered", device->registered);
    cJSON_AddBoolToObject(object, "connected", device->connected);
    cJSON_AddBoolToObject(object, "published", device->published);
    if (credentials->chain != NULL) {
        char id[CERTIFICATE_ID_SIZE];
        certificate_id(credentials, id);
        cJSON_AddStringToObject(object, "thing_name", credentials->thing_name);
        cJSON_AddStringToObject(object, "endpoint", credentials->endpoint);
        cJSON_AddStringToObject(object, "certificate_id", id);
    }
    char *text = cJSON_PrintUnformatted(object);
    puts(text != NULL ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(object);
}

int main(int argc, char **argv)
{
    struct options options;
    switch (options_parse(&options, argc, argv)) {
    case OPTIONS_DONE:
        return EX_OK;
    case OPTIONS_WRONG:
        return EX_USAGE;
    default:
        break;
    }
    struct device device = {.options = &options, .stop_fd = stop_open(), .store = {.folder = -1}};
    if (device.stop_fd < 0) {
        return report(EX_UNAVAILABLE, "signals: %s", strerror(errno));
    }
    int status = run(&device);
    if (status != EX_OK && stop_wait(device.stop_fd, 0)) {
        status = report(EX_TEMPFAIL, "stopped by a signal; run again to go on");
    }
    if (options.json) {
        print_json(&device);
    }
    credentials_free(&device.credentials);
    store_close(&device.store);
    return status;
}
