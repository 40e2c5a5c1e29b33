/* What a device's first connection depends on and others may spoil: crl.pem, the chain, the
 * broker's certificate. Looked at in a thread, and reported by their files. */
#include "look.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/files.h"
#include "local.h"

#define LONGEST_PATH 4096
#define DAY_MS       INT64_C(86400000)
#define NOTICE_MS    (14 * DAY_MS)
#define LONGEST_WHY  300

/* One file, as it was found. */
struct finding {
    char path[LONGEST_PATH];
    char problem[LONGEST_WHY]; /* "": none */
    int64_t begins_ms, ends_ms;
    int32_t is_there; /* else it is nobody's */
};

struct look {
    struct platform *platform;
    cvm_op_t *op;
    struct finding crl, chain, broker;
    X509 *broker_certificate;
    int32_t must_hear; /* also of what a server puts right by itself */
};

/* --- Reading, in a thread --------------------------------------------------------------------- */

static void look_complain(struct finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void look_complain(struct finding *finding, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(finding->problem, sizeof finding->problem, format, arguments);
    va_end(arguments);
}

/* The file as memory to read from; NULL if it can't be had. One that is not ours to read says
 * nothing. */
static BIO *look_read(struct finding *finding, const char *advice)
{
    char why[LONGEST_WHY];
    size_t length;
    finding->is_there = 1;
    char *pem = cvm_files_read(finding->path, &length, why, sizeof why);
    if (!pem) {
        finding->is_there = errno != EACCES;
        look_complain(finding, "%s%s", errno == ENOENT ? "is missing" : "can't be read", advice);
        return NULL;
    }
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && BIO_write(bio, pem, (int)length) != (int)length) {
        BIO_free(bio);
        bio = NULL;
    }
    free(pem);
    return bio;
}

/* All CRLs of the file: a broker refuses every device when one of them is over. */
static void look_at_crl(struct finding *finding)
{
    BIO *bio = look_read(finding, ": `cvm ca crl` writes one");
    X509_CRL *crl;
    uint32_t count = 0;
    if (!bio)
        return;
    for (; (crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)); count++) {
        int64_t begins_ms = cvm_ca_time_ms(X509_CRL_get0_lastUpdate(crl));
        int64_t ends_ms = cvm_ca_time_ms(X509_CRL_get0_nextUpdate(crl));
        if (!count || begins_ms > finding->begins_ms)
            finding->begins_ms = begins_ms;
        if (!count || ends_ms < finding->ends_ms)
            finding->ends_ms = ends_ms;
        X509_CRL_free(crl);
    }
    if (!cvm_ca_is_at_end() || !count)
        look_complain(finding, "holds something else than CRLs: `cvm ca crl` writes it anew");
    BIO_free(bio);
}

static void look_at_chain(struct finding *finding)
{
    BIO *bio = look_read(finding, ": it is issuing.pem and root.pem in one");
    X509 *certificate;
    uint32_t count = 0;
    if (!bio)
        return;
    for (; (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)); count++)
        X509_free(certificate);
    if (!cvm_ca_is_at_end() || count < 2)
        look_complain(finding, "holds something else than a chain: it is issuing.pem and root.pem "
                               "in one");
    BIO_free(bio);
}

static void look_at_broker(struct finding *finding, X509 **certificate)
{
    BIO *bio = look_read(finding, ": `cvm ca server NAME... --out` makes one");
    if (!bio)
        return;
    *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (*certificate) {
        finding->begins_ms = cvm_ca_time_ms(X509_get0_notBefore(*certificate));
        finding->ends_ms = cvm_ca_time_ms(X509_get0_notAfter(*certificate));
    } else {
        look_complain(finding, "is no certificate: `cvm ca server NAME... --out` makes one");
    }
    ERR_clear_error();
    BIO_free(bio);
}

/* The broker's files count where it is configured by what `cvm init` wrote. */
static void look_work(void *argument)
{
    struct look *look = argument;
    char configuration[LONGEST_PATH];
    const char *folder = look->platform->folder;
    (void)snprintf(look->crl.path, sizeof look->crl.path, "%s/crl.pem", folder);
    (void)snprintf(look->chain.path, sizeof look->chain.path, "%s/chain.pem", folder);
    cvm_local_path(folder, "mosquitto/server.pem", look->broker.path, sizeof look->broker.path);
    cvm_local_path(folder, "mosquitto/mosquitto.conf", configuration, sizeof configuration);
    look_at_crl(&look->crl);
    if (!cvm_files_exists(configuration))
        return;
    look_at_chain(&look->chain);
    look_at_broker(&look->broker, &look->broker_certificate);
}

/* --- Reporting, on the loop ------------------------------------------------------------------- */

static void look_report(
    const struct platform *platform, const struct finding *finding, int64_t notice_ms)
{
    platform->host->health(platform->context, finding->path,
        *finding->problem ? finding->problem : NULL, finding->begins_ms, finding->ends_ms,
        notice_ms);
}

/* What a server makes anew when it starts is no reason not to start it. */
static int32_t look_is_mended(const struct look *look, const struct finding *finding)
{
    if (look->must_hear)
        return 0;
    if (finding == &look->crl)
        return access(look->platform->folder, W_OK | X_OK) == 0;
    return finding == &look->broker && look->broker_certificate &&
           X509_check_issued(look->platform->ca->issuing, look->broker_certificate) == X509_V_OK;
}

static void look_done(void *argument)
{
    struct look *look = argument;
    struct platform *platform = look->platform;
    struct finding *findings[] = {&look->crl, &look->chain, &look->broker};
    for (size_t i = 0; i < sizeof findings / sizeof findings[0]; i++)
        if (findings[i]->is_there && !look_is_mended(look, findings[i]))
            look_report(platform, findings[i], findings[i] == &look->broker ? NOTICE_MS : 0);
    if (look->broker_certificate)
        platform->host->gauge(platform->context, CVM_GAUGE_CERTIFICATE_EXPIRY, look->broker.path,
            look->broker.ends_ms / 1000);
    if (look->op)
        platform->host->complete(look->op, CVM_ANSWER_OK, NULL);
    X509_free(look->broker_certificate);
    free(look);
}

void cvm_look(struct platform *platform, cvm_op_t *op)
{
    struct look *look = calloc(1, sizeof *look);
    if (look) {
        look->platform = platform;
        look->op = op;
        look->must_hear = platform->is_server;
        if (!platform->host->run(platform->context, look_work, look_done, look))
            return;
    }
    free(look);
    if (op)
        platform->host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
}
