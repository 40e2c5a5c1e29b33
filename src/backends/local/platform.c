/* The local platform's table of steps. It has no effects outside the store: it signs in memory, and
 * a certificate exists once the record says so. Only revocation leaves the store, as crl.pem. */
#include "platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admission.h"
#include "base/crypto.h"
#include "base/files.h"
#include "base/pem.h"
#include "base/secret.h"
#include "crl_list.h"
#include "local.h"
#include "look.h"

#define LEAST_VALIDITY_MS 10000
#define CA_NOTICE_MS      (INT64_C(90) * 24 * 3600 * 1000) /* a new one takes time to reach devices */
#define LONGEST_PATH      4096
#define LONGEST_ERROR     200
#define MOST_CERTIFICATES 64 /* of a device, that are not revoked */

/* Who waits until the store has answered. */
struct asked {
    struct platform *platform;
    cvm_op_t *op;
};

/* --- Open and close --------------------------------------------------------------------------- */

static void destroy(void *self)
{
    struct platform *platform = self;
    cvm_ca_free(platform->ca);
    cvm_issuers_clear(&platform->issuers);
    cvm_look_free(platform->last_look);
    free(platform->folder);
    free(platform->endpoint);
    free(platform->root_ca);
    free(platform);
}

/* The broker's trust anchors; freed by the caller. NULL and why. */
static char *read_root_ca(struct platform *platform, char *error, size_t error_size)
{
    const char *path = platform->host->property(platform->context, "mqtt.root_ca");
    size_t length;
    if (!*path)
        return strdup(platform->ca->root_pem);
    char *pem = cvm_files_read(path, &length, error, error_size);
    if (!pem)
        return NULL;
    char *anchors = cvm_pem_certificates(pem, length); /* an operator's file may hold more */
    cvm_secret_free(pem, length);
    if (anchors && !cvm_ca_last_end(anchors, &platform->root_ca_ends_ms))
        return anchors;
    (void)snprintf(error, error_size,
        "mqtt.root_ca: %.120s holds no certificate, a spoiled one, or more than %d KiB", path,
        CVM_LARGEST_ANCHORS / 1024);
    free(anchors);
    return NULL;
}

/* The folder's CA, as the properties want it. NULL and why. */
static struct ca *load_ca(const struct platform *platform, char *error, size_t error_size)
{
    const char *url = platform->host->property(platform->context, "ca.crl_url");
    struct ca *ca = cvm_ca_load(platform->folder, error, error_size);
    if (ca && cvm_ca_set_crl_url(ca, url, error, error_size)) {
        cvm_ca_free(ca);
        ca = NULL;
    }
    return ca;
}

/* What a device is told: the endpoint, and whom to trust there. */
static int32_t load_endpoint(struct platform *platform, char *error, size_t error_size)
{
    const char *endpoint = platform->host->property(platform->context, "mqtt.endpoint");
    char *root_ca = read_root_ca(platform, error, error_size);
    char *copy = strdup(endpoint);
    if (!root_ca || !copy || !*copy) {
        if (root_ca && copy)
            (void)snprintf(error, error_size, "mqtt.endpoint is empty");
        free(root_ca);
        free(copy);
        return -1;
    }
    free(platform->root_ca);
    free(platform->endpoint);
    platform->root_ca = root_ca;
    platform->endpoint = copy;
    return 0;
}

/* A CRL's times are whole seconds, and it is renewed at half of its time. */
static int32_t check_validity(const struct platform *platform, char *error, size_t error_size)
{
    int64_t validity_ms = platform->host->property_number(platform->context, "ca.crl_validity");
    if (!validity_ms || validity_ms >= LEAST_VALIDITY_MS)
        return 0;
    (void)snprintf(error, error_size, "ca.crl_validity must be 0, or at least 10s");
    return -1;
}

static cvm_answer_t create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **result, char *error, size_t error_size)
{
    (void)user_data;
    struct platform *platform = calloc(1, sizeof *platform);
    (void)snprintf(error, error_size, *location ? "out of memory" : "expected local:FOLDER");
    if (!platform || !*location) {
        free(platform);
        return CVM_ANSWER_INVALID;
    }
    platform->host = host;
    platform->context = context;
    platform->folder = strdup(location);
    platform->ca = platform->folder ? load_ca(platform, error, error_size) : NULL;
    if (!platform->ca || check_validity(platform, error, error_size) ||
        load_endpoint(platform, error, error_size)) {
        destroy(platform);
        return CVM_ANSWER_INVALID;
    }
    *result = platform;
    return CVM_ANSWER_OK;
}

static void report_certificate(const struct platform *platform, const char *name, const X509 *ca)
{
    char path[LONGEST_PATH];
    (void)snprintf(path, sizeof path, "%s/%s", platform->folder, name);
    platform->host->health(platform->context, path, NULL, cvm_asn1_time_ms(X509_get0_notBefore(ca)),
        cvm_asn1_time_ms(X509_get0_notAfter(ca)), CA_NOTICE_MS);
}

static void report_life(const struct platform *platform)
{
    platform->host->gauge(platform->context, CVM_GAUGE_CA_EXPIRY, "root",
        cvm_asn1_time_ms(X509_get0_notAfter(platform->ca->root)) / 1000);
    platform->host->gauge(platform->context, CVM_GAUGE_CA_EXPIRY, "issuing",
        cvm_asn1_time_ms(X509_get0_notAfter(cvm_ca_issuing(platform->ca)->certificate)) / 1000);
    report_certificate(platform, "root.pem", platform->ca->root);
    report_certificate(platform, "issuing.pem", cvm_ca_issuing(platform->ca)->certificate);
    if (platform->root_ca_ends_ms) /* of several, one that still holds is enough */
        platform->host->health(platform->context,
            platform->host->property(platform->context, "mqtt.root_ca"), NULL, 0,
            platform->root_ca_ends_ms, CA_NOTICE_MS);
    platform->host->clock_bound(platform->context,
        cvm_asn1_time_ms(X509_get0_notBefore(cvm_ca_issuing(platform->ca)->certificate)),
        cvm_asn1_time_ms(X509_get0_notAfter(cvm_ca_issuing(platform->ca)->certificate)));
}

void cvm_platform_take_issuers(struct platform *platform, struct ca_issuers *issuers)
{
    cvm_issuers_clear(&platform->issuers);
    platform->issuers = *issuers;
    issuers->count = 0;
}

/* --- Opening: a server is one of the store's -------------------------------------------------- */

static void opening_admitted(
    void *argument, cvm_answer_t answer, const char *why, struct ca_issuers *issuers)
{
    struct asked opening = *(struct asked *)argument;
    struct platform *platform = opening.platform;
    free(argument);
    platform->is_admitting = 0;
    if (answer == CVM_ANSWER_OK)
        cvm_platform_take_issuers(platform, issuers);
    if (answer != CVM_ANSWER_OK)
        platform->host->complete(opening.op, answer, why);
    else if (!platform->check && cvm_publish_when_due(platform))
        platform->host->complete(opening.op, CVM_ANSWER_UNAVAILABLE, "out of memory");
    else
        cvm_look(platform, opening.op);
    cvm_platform_go_on(platform);
}

static void open_platform(void *self, cvm_op_t *op, uint32_t how)
{
    struct platform *platform = self;
    report_life(platform);
    if (!(how & CVM_OPEN_RECONCILE)) {
        cvm_look(platform, op);
        return;
    }
    struct asked *opening = malloc(sizeof *opening);
    if (!opening) {
        platform->host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
        return;
    }
    *opening = (struct asked){platform, op};
    platform->is_admitting = 1;
    cvm_admission_ask(platform, platform->ca, opening_admitted, opening);
}

/* --- Reloading: all or nothing ---------------------------------------------------------------- */

/* What was read, until the store has admitted it. */
struct reload {
    struct platform *platform;
    struct waiting *waiting;
    struct ca *ca;
};

static void reload_refuse(struct reload *reload, cvm_answer_t answer, const char *why)
{
    struct platform *platform = reload->platform;
    platform->host->log(platform->context, CVM_LEVEL_ERROR, why);
    cvm_publish_answer(platform, reload->waiting, answer, why);
    cvm_ca_free(reload->ca);
    free(reload);
}

/* A new crl.pem is part of it: the last one may have been lost or spoiled. */
static void reload_take(struct reload *reload, struct ca_issuers *issuers)
{
    struct platform *platform = reload->platform;
    struct ca *before = platform->ca;
    char error[LONGEST_ERROR];
    platform->ca = reload->ca;
    reload->ca = before;
    *platform->served = 0; /* the URL may be another one */
    if (load_endpoint(platform, error, sizeof error)) {
        reload->ca = platform->ca;
        platform->ca = before;
        reload_refuse(reload, CVM_ANSWER_INVALID, error);
        return;
    }
    cvm_platform_take_issuers(platform, issuers);
    report_life(platform);
    cvm_publish_all(platform, reload->waiting);
    cvm_ca_free(before);
    free(reload);
}

static void reload_admitted(
    void *argument, cvm_answer_t answer, const char *why, struct ca_issuers *issuers)
{
    struct reload *reload = argument;
    struct platform *platform = reload->platform;
    platform->is_admitting = 0;
    if (answer == CVM_ANSWER_OK)
        reload_take(reload, issuers);
    else
        reload_refuse(reload, answer, why);
    cvm_platform_go_on(platform);
}

static void reload_now(struct platform *platform, struct waiting *waiting)
{
    char error[LONGEST_ERROR] = "out of memory";
    struct reload *reload = malloc(sizeof *reload);
    if (!reload) {
        cvm_publish_answer(platform, waiting, CVM_ANSWER_UNAVAILABLE, error);
        return;
    }
    *reload = (struct reload){platform, waiting, load_ca(platform, error, sizeof error)};
    if (!reload->ca) {
        reload_refuse(reload, CVM_ANSWER_INVALID, error);
        return;
    }
    platform->is_admitting = 1;
    cvm_admission_ask(platform, reload->ca, reload_admitted, reload);
}

static int32_t platform_is_busy(const struct platform *platform)
{
    return platform->publication || platform->is_admitting;
}

void cvm_platform_go_on(struct platform *platform)
{
    if (platform_is_busy(platform))
        return; /* it works with the CA as it is */
    struct waiting *reloading = platform->reloading;
    platform->reloading = NULL;
    if (reloading)
        reload_now(platform, reloading);
    if (!platform_is_busy(platform) && platform->waiting) {
        cvm_publish_go_on(platform);
        return; /* it comes by here again, or is under way */
    }
    cvm_op_t *closing = platform->closing;
    if (!closing || platform_is_busy(platform) || platform->sweep)
        return;
    platform->closing = NULL;
    platform->host->complete(closing, CVM_ANSWER_OK, NULL);
}

static void reload(void *self, cvm_op_t *op)
{
    struct platform *platform = self;
    if (!cvm_publish_wait(platform, &platform->reloading, op))
        cvm_platform_go_on(platform);
}

static void close_platform(void *self, cvm_op_t *op)
{
    struct platform *platform = self;
    platform->closing = op;
    atomic_store(&platform->must_end, 1);
    cvm_publish_stop(platform);
    cvm_platform_go_on(platform);
}

static void look_again(void *self, cvm_op_t *op)
{
    cvm_look(self, op);
}

/* --- Steps ------------------------------------------------------------------------------------ */

/* A certificate that is answered again may be an earlier issuing CA's. */
static int32_t set_chain(
    const struct platform *platform, cvm_op_t *op, const cvm_record_t *certificate)
{
    const char *key_id = platform->host->text(certificate, CVM_C_ISSUER);
    const struct ca_issuer *issuer = cvm_issuers_find(&platform->issuers, key_id);
    if (!issuer || issuer == &platform->issuers.list[0])
        return platform->host->op_set_text(op, CVM_OUT_CHAIN, platform->ca->chain_pem);
    char *pem = cvm_ca_certificate_pem(issuer->certificate);
    int32_t failed = !pem || platform->host->op_set_text(op, CVM_OUT_CHAIN, pem);
    free(pem);
    return failed;
}

static void prepare(
    void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    const struct platform *platform = self;
    const cvm_host_t *host = platform->host;
    (void)device;
    int32_t failed = host->op_set_text(op, CVM_OUT_ENDPOINT, platform->endpoint) ||
                     host->op_set_text(op, CVM_OUT_ROOT_CA, platform->root_ca) ||
                     set_chain(platform, op, certificate);
    host->complete(op, failed ? CVM_ANSWER_UNAVAILABLE : CVM_ANSWER_OK, NULL);
}

static cvm_record_t *record_of(const struct platform *platform, const struct ca_leaf *leaf)
{
    const cvm_host_t *host = platform->host;
    cvm_record_t *record = host->record_new(CVM_RECORD_CERTIFICATE);
    if (record && (host->set_text(record, CVM_C_CERTIFICATE_ID, leaf->id) ||
                      host->set_text(record, CVM_C_SERIAL, leaf->serial) ||
                      host->set_text(record, CVM_C_ISSUER, cvm_ca_issuing(platform->ca)->key_id) ||
                      host->set_number(record, CVM_C_NOT_BEFORE, leaf->not_before_ms) ||
                      host->set_number(record, CVM_C_NOT_AFTER, leaf->not_after_ms) ||
                      host->set_text(record, CVM_C_PEM, leaf->pem))) {
        host->record_free(record);
        record = NULL;
    }
    return record;
}

static void create_certificate(
    void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    const struct platform *platform = self;
    const cvm_host_t *host = platform->host;
    struct ca_leaf leaf;
    size_t length;
    const uint8_t *spki = host->op_public_key(op, &length);
    (void)certificate;
    int32_t failed =
        cvm_ca_sign_leaf(platform->ca, spki, length, host->text(device, CVM_D_THING_NAME),
            host->property_number(platform->context, "certificate.not_before_backdate"),
            host->property_number(platform->context, "certificate.validity"), &leaf);
    cvm_record_t *record = failed ? NULL : record_of(platform, &leaf);
    failed = !record || host->op_add_record(op, record) || set_chain(platform, op, NULL);
    free(leaf.pem);
    host->complete(op, failed ? CVM_ANSWER_UNAVAILABLE : CVM_ANSWER_OK,
        failed ? "the certificate could not be signed" : NULL);
}

/* The record already says it; a CRL that is made from now on does too. */
static void publish_change(
    void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    (void)device;
    (void)certificate;
    cvm_publish(self, op);
}

/* One that another CA has issued can't be in a CRL of ours; a server that has its key will do. 1 if
 * it was refused. */
static int32_t refuse_foreign(
    const struct platform *platform, cvm_op_t *op, const cvm_record_t *certificate)
{
    const char *issuer = platform->host->text(certificate, CVM_C_ISSUER);
    char why[LONGEST_ERROR];
    if (!*issuer || cvm_issuers_find(&platform->ca->issuers, issuer))
        return 0;
    (void)snprintf(why, sizeof why,
        "the certificate's issuer is %.40s, whose key is not here (%s is)", issuer,
        cvm_ca_issuing(platform->ca)->key_id);
    platform->host->complete(op, CVM_ANSWER_UNAVAILABLE, why);
    return 1;
}

static void revoke(
    void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    const struct platform *platform = self;
    struct crl_entry entry;
    if (refuse_foreign(platform, op, certificate))
        return;
    if (cvm_crl_entry_set(&entry, platform->host->text(certificate, CVM_C_SERIAL), 0, ""))
        platform->host->complete(
            op, CVM_ANSWER_UNAVAILABLE, "its serial is none: no CRL can list it");
    else
        publish_change(self, op, device, certificate);
}

/* All of the device's certificates must be ours. */
static void got_suspended(void *argument, cvm_op_t *found, cvm_answer_t answer)
{
    const struct asked suspension = *(struct asked *)argument;
    const cvm_host_t *host = suspension.platform->host;
    const cvm_record_t *certificate;
    free(argument);
    if (answer != CVM_ANSWER_OK) {
        host->complete(suspension.op, CVM_ANSWER_UNAVAILABLE, "the store does not answer");
        return;
    }
    for (uint32_t i = 0; (certificate = host->op_record(found, i)); i++) {
        const char *state = host->text(certificate, CVM_C_STATE);
        int32_t is_suspended = strcmp(state, "current") == 0 || strcmp(state, "retiring") == 0;
        if (is_suspended && refuse_foreign(suspension.platform, suspension.op, certificate))
            return;
    }
    cvm_publish(suspension.platform, suspension.op);
}

static void suspend(
    void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    struct platform *platform = self;
    struct asked *suspension = malloc(sizeof *suspension);
    (void)certificate;
    if (suspension)
        *suspension = (struct asked){platform, op};
    if (!suspension || platform->host->store_get_certificates(platform->context,
                           platform->host->text(device, CVM_D_DEVICE_UID), MOST_CERTIFICATES,
                           got_suspended, suspension)) {
        free(suspension);
        platform->host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
    }
}

static const cvm_platform_ops_t LOCAL_PLATFORM = {
    .size = sizeof(cvm_platform_ops_t),
    .flags = CVM_PLATFORM_NAME_IS_CN | CVM_PLATFORM_NEEDS_SCANS | CVM_LOCATION_IS_PATH,
    .create = create,
    .open = open_platform,
    .prepare = prepare,
    .create_certificate = create_certificate,
    .revoke = revoke,
    .suspend = suspend,
    .reload = reload,
    .ready = look_again,
    .close = close_platform,
    .destroy = destroy,
};

int32_t cvm_plugin_local(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    return host->add_platform(registry, "local", &LOCAL_PLATFORM, user_data, NULL, 0);
}
