/* What a device's first connection depends on and others may spoil: crl.pem, the chain, the
 * broker's certificate and key. Looked at in a thread, and reported by their files. */
#include "look.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/compat.h"
#include "base/crypto.h"
#include "base/files.h"
#include "base/secret.h"
#include "crl_file.h"
#include "local.h"

#define LONGEST_PATH 4096
#define DAY_MS       INT64_C(86400000)
#define NOTICE_MS    (14 * DAY_MS)

/* One file, as it was found. One that could not be looked at keeps what was known of it. */
struct finding {
    char path[LONGEST_PATH];
    const char *problem; /* NULL: none */
    int64_t begins_ms, ends_ms;
    int32_t is_unknown;
    struct stat status; /* by which a file is known to be the same; zeroes if there is none */
};

enum { CRL, CHAIN, BROKER, KEY, BROKERS_CRL, FILES };

/* The first two are in the CA's folder, the others in the instance's. */
static const char *const NAMES[FILES] = {
    "crl.pem", "chain.pem", "mosquitto/server.pem", "mosquitto/server.key", "mosquitto/crl.pem"};

struct look {
    struct platform *platform;
    struct waiting *waiting; /* the operations that it is for */
    X509 *root;              /* the CA's, as it is when the look begins */
    struct ca_issuers issuers;
    struct finding findings[FILES];
    struct stat configuration; /* of the broker */
    X509 *broker;              /* its certificate */
    int32_t is_ours;
    int32_t has_own_root; /* devices are told this CA's */
    int32_t must_hear;    /* also of what a server puts right by itself */
    int32_t is_repeated;  /* all is as at the last look */
};

/* --- Reading, in a thread --------------------------------------------------------------------- */

/* The file as memory to read from; NULL if it can't be had. */
static BIO *look_read(struct finding *finding)
{
    char why[LONGEST_PATH];
    size_t length;
    char *pem = cvm_files_read_most(finding->path, LARGEST_CRL_FILE, &length, why, sizeof why);
    if (!pem && errno == ENOENT)
        finding->problem = "is missing";
    else if (!pem && errno == ENOMEM)
        finding->is_unknown = 1;
    else if (!pem)
        finding->problem = strerror(errno);
    BIO *bio = pem ? BIO_new(BIO_s_mem()) : NULL;
    if (pem && (!bio || BIO_write(bio, pem, (int)length) != (int)length)) {
        finding->is_unknown = 1;
        BIO_free(bio);
        bio = NULL;
    }
    cvm_secret_free(pem, pem ? length : 0); /* a key */
    return bio;
}

static int32_t look_is_by(X509_CRL *crl, X509 *issuer)
{
    return X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(issuer)) == 0 &&
           X509_CRL_verify(crl, X509_get0_pubkey(issuer)) == 1;
}

/* All CRLs of the file: a broker refuses every device when one of them is over, or its issuer's is
 * not there. */
static void look_at_crl(struct look *look, int32_t file)
{
    struct finding *finding = &look->findings[file];
    BIO *bio = look_read(finding);
    X509_CRL *crl;
    int32_t has_issuing = 0, has_root = 0;
    if (!bio)
        return;
    for (int32_t is_first = 1; (crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)); is_first = 0) {
        int64_t begins_ms = cvm_asn1_time_ms(X509_CRL_get0_lastUpdate(crl));
        int64_t ends_ms = cvm_asn1_time_ms(X509_CRL_get0_nextUpdate(crl));
        if (is_first || begins_ms > finding->begins_ms)
            finding->begins_ms = begins_ms;
        if (is_first || ends_ms < finding->ends_ms)
            finding->ends_ms = ends_ms;
        has_issuing |= look_is_by(crl, look->issuers.list[0].certificate);
        has_root |= look_is_by(crl, look->root);
        X509_CRL_free(crl);
    }
    if (!cvm_ca_is_at_end())
        finding->problem = "holds something else than CRLs";
    else if (!has_issuing || !has_root)
        finding->problem = "lacks the CRL of this CA or of its root";
    ERR_clear_error();
    BIO_free(bio);
}

static void look_at_chain(struct look *look)
{
    struct finding *finding = &look->findings[CHAIN];
    BIO *bio = look_read(finding);
    X509 *certificate;
    int32_t has_issuing = 0, has_root = 0;
    if (!bio)
        return;
    while ((certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        has_issuing |= X509_cmp(certificate, look->issuers.list[0].certificate) == 0;
        has_root |= X509_cmp(certificate, look->root) == 0;
        X509_free(certificate);
    }
    if (!cvm_ca_is_at_end())
        finding->problem = "holds something else than certificates";
    else if (!has_issuing || !has_root)
        finding->problem = "lacks this CA's issuing.pem or root.pem";
    BIO_free(bio);
}

/* Devices are told this CA's root, unless mqtt.root_ca says another. */
static void look_at_broker(struct look *look)
{
    struct finding *finding = &look->findings[BROKER];
    BIO *bio = look_read(finding);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    if (certificate) {
        finding->begins_ms = cvm_asn1_time_ms(X509_get0_notBefore(certificate));
        finding->ends_ms = cvm_asn1_time_ms(X509_get0_notAfter(certificate));
        look->broker = certificate;
        look->is_ours = cvm_issuers_of(&look->issuers, certificate) != NULL;
    } else if (bio) {
        finding->problem = "is no certificate";
    }
    if (certificate && !look->is_ours && look->has_own_root)
        finding->problem = "is of another CA than devices are told";
    ERR_clear_error();
    BIO_free(bio);
}

static void look_at_key(struct look *look)
{
    struct finding *finding = &look->findings[KEY];
    if (access(finding->path, R_OK) && errno == EACCES)
        return; /* it may be the broker's alone */
    BIO *bio = look_read(finding);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    if (bio && !key)
        finding->problem = "is no private key";
    else if (key && look->broker && X509_check_private_key(look->broker, key) != 1)
        finding->problem = "is not the key of server.pem beside it";
    ERR_clear_error();
    EVP_PKEY_free(key);
    BIO_free(bio);
}

static int32_t is_same(const struct stat *one, const struct stat *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino &&
           one->st_mode == other->st_mode && one->st_uid == other->st_uid &&
           one->st_size == other->st_size && one->st_mtim.tv_sec == other->st_mtim.tv_sec &&
           one->st_mtim.tv_nsec == other->st_mtim.tv_nsec &&
           one->st_ctim.tv_sec == other->st_ctim.tv_sec &&
           one->st_ctim.tv_nsec == other->st_ctim.tv_nsec;
}

static int32_t look_has_same_issuers(const struct look *one, const struct look *other)
{
    int32_t is_same = one->issuers.count == other->issuers.count;
    for (uint32_t i = 0; is_same && i < one->issuers.count; i++)
        is_same =
            X509_cmp(one->issuers.list[i].certificate, other->issuers.list[i].certificate) == 0;
    return is_same;
}

/* A CRL of many entries takes a second to read and to verify, and somebody may ask each second. */
static int32_t look_is_repeated(struct look *look)
{
    const struct look *last = look->platform->last_look;
    int32_t is_repeated = last && look_has_same_issuers(last, look) &&
                          last->has_own_root == look->has_own_root &&
                          is_same(&last->configuration, &look->configuration);
    for (int32_t file = 0; file < FILES; file++) {
        struct finding *finding = &look->findings[file];
        if (stat(finding->path, &finding->status))
            finding->status = (struct stat){0};
        is_repeated = is_repeated && !last->findings[file].is_unknown &&
                      is_same(&finding->status, &last->findings[file].status);
    }
    return is_repeated;
}

/* The broker's files count where it is configured by what `cvm init` wrote. */
static void look_work(void *argument)
{
    struct look *look = argument;
    char configuration[LONGEST_PATH];
    cvm_local_path(
        look->platform->folder, "mosquitto/mosquitto.conf", configuration, sizeof configuration);
    if (stat(configuration, &look->configuration))
        look->configuration = (struct stat){0};
    look->is_repeated = look_is_repeated(look);
    if (look->is_repeated)
        return;
    look_at_crl(look, CRL);
    if (!look->configuration.st_ino)
        return;
    look_at_chain(look);
    look_at_broker(look);
    look_at_key(look);
    look_at_crl(look, BROKERS_CRL);
}

/* --- Reporting, on the loop ------------------------------------------------------------------- */

/* What a server makes anew when it starts is no reason not to start it. */
static int32_t look_is_mended(const struct look *look, int32_t file)
{
    if (look->must_hear)
        return 0;
    if (file == CRL)
        return access(look->platform->folder, W_OK | X_OK) == 0;
    return file == BROKER && look->is_ours;
}

static void look_report(const struct look *look, int32_t file)
{
    const struct platform *platform = look->platform;
    const struct finding *finding = &look->findings[file];
    if (look_is_mended(look, file))
        platform->host->health(platform->context, finding->path, NULL, 0, 0, 0);
    else if (!finding->is_unknown)
        platform->host->health(platform->context, finding->path, finding->problem,
            finding->begins_ms, finding->ends_ms, file == BROKER ? NOTICE_MS : 0);
}

void cvm_look_free(struct look *look)
{
    if (!look)
        return;
    X509_free(look->broker);
    X509_free(look->root);
    cvm_issuers_clear(&look->issuers);
    free(look);
}

/* What was found is told also where it was known: a subject's time goes on. */
static void look_done(void *argument)
{
    struct look *look = argument;
    struct platform *platform = look->platform;
    struct waiting *waiting = look->waiting;
    platform->look = NULL;
    if (look->is_repeated) {
        cvm_look_free(look);
    } else {
        cvm_look_free(platform->last_look);
        platform->last_look = look;
    }
    look = platform->last_look;
    for (int32_t file = 0; file < FILES; file++)
        look_report(look, file);
    if (look->broker)
        platform->host->gauge(platform->context, CVM_GAUGE_CERTIFICATE_EXPIRY,
            look->findings[BROKER].path, look->findings[BROKER].ends_ms / 1000);
    cvm_publish_answer(platform, waiting, CVM_ANSWER_OK, NULL);
}

static struct look *look_new(struct platform *platform)
{
    struct look *look = calloc(1, sizeof *look);
    if (!look)
        return NULL;
    look->platform = platform;
    look->must_hear = platform->check != NULL; /* a server */
    look->has_own_root = !platform->root_ca_ends_ms;
    /* A reload may replace the CA meanwhile. */
    if (X509_up_ref(platform->ca->root))
        look->root = platform->ca->root;
    for (uint32_t i = 0; i < platform->ca->issuers.count; i++)
        (void)cvm_issuers_share(&look->issuers, &platform->ca->issuers.list[i]);
    for (int32_t file = 0; file < FILES; file++) {
        struct finding *finding = &look->findings[file];
        if (file <= CHAIN)
            (void)snprintf(
                finding->path, sizeof finding->path, "%s/%s", platform->folder, NAMES[file]);
        else
            cvm_local_path(platform->folder, NAMES[file], finding->path, sizeof finding->path);
    }
    return look;
}

/* 0, or -1 without memory. */
static int32_t look_begin(struct platform *platform)
{
    struct look *look = look_new(platform);
    if (look && look->root && look->issuers.count &&
        !platform->host->run(platform->context, look_work, look_done, look)) {
        platform->look = look;
        return 0;
    }
    cvm_look_free(look);
    return -1;
}

/* Who asks while one is under way is told what that one finds: a file system that hangs would soon
 * hold every thread. */
void cvm_look(struct platform *platform, cvm_op_t *op)
{
    if (!platform->look && look_begin(platform)) {
        if (op)
            platform->host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
    } else if (op) {
        (void)cvm_publish_wait(platform, &platform->look->waiting, op);
    }
}
