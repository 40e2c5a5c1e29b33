#include "admission.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/files.h"

#define MOST_TRIES 5
#define WHY_SIZE   240

struct admission {
    struct platform *platform;
    const struct ca *ca;
    struct ca_issuers stored;  /* as the value has them */
    struct ca_issuers issuers; /* what is answered */
    uint32_t tries;
    admission_done done;
    void *argument;
};

static void admission_get(struct admission *admission);

static void admission_end(struct admission *admission, cvm_answer_t answer, const char *why)
{
    admission->done(admission->argument, answer, why, &admission->issuers);
    cvm_issuers_clear(&admission->issuers);
    cvm_issuers_clear(&admission->stored);
    free(admission);
}

/* --- The first server's ----------------------------------------------------------------------- */

static char *admission_text(const struct ca *ca)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int32_t failed = !bio;
    for (uint32_t i = 0; !failed && i < ca->issuers.count; i++)
        failed = !PEM_write_bio_X509(bio, ca->issuers.list[i].certificate);
    char *text = failed ? NULL : cvm_ca_text_of(bio);
    BIO_free(bio);
    return text;
}

/* What is there now is asked: ours, or that of who was faster. */
static void admission_is_put(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct admission *admission = argument;
    int32_t is_asked =
        answer == CVM_ANSWER_OK || answer == CVM_ANSWER_CONFLICT || answer == CVM_ANSWER_UNKNOWN;
    (void)op;
    if (is_asked && ++admission->tries < MOST_TRIES)
        admission_get(admission);
    else
        admission_end(admission, CVM_ANSWER_UNAVAILABLE, "the issuing CA can't be written down");
}

/* Frees the text. */
static void admission_put(struct admission *admission, int64_t version, char *text)
{
    const struct platform *platform = admission->platform;
    if (!text || platform->host->store_meta_put(
                     platform->context, ISSUERS_NAME, version, text, admission_is_put, admission))
        admission_end(admission, CVM_ANSWER_UNAVAILABLE, "out of memory");
    free(text);
}

/* --- Comparing -------------------------------------------------------------------------------- */

/* All certificates of a PEM text. 0, or -1 if something there is no CA's. */
static int32_t admission_parse(const char *text, struct ca_issuers *issuers)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509 *certificate;
    int32_t failed = !bio;
    while (!failed && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        failed = cvm_issuers_add(issuers, certificate, NULL);
        if (failed)
            X509_free(certificate);
    }
    failed = !cvm_ca_is_at_end() || failed;
    ERR_clear_error();
    BIO_free(bio);
    return failed ? -1 : 0;
}

static int32_t admission_has(const struct ca_issuers *issuers, const struct ca_issuer *issuer)
{
    const struct ca_issuer *found = cvm_issuers_find(issuers, issuer->key_id);
    return found && X509_cmp(found->certificate, issuer->certificate) == 0;
}

/* Those whose keys are here first, in the folder's order, then the others. One that is here and not
 * there is still to be admitted. */
static void admission_take(struct admission *admission)
{
    const struct ca_issuers *own = &admission->ca->issuers, *stored = &admission->stored;
    for (uint32_t i = 0; i < own->count; i++)
        if (admission_has(stored, &own->list[i]))
            (void)cvm_issuers_share(&admission->issuers, &own->list[i]);
    for (uint32_t i = 0; i < stored->count; i++)
        if (!cvm_issuers_find(&admission->issuers, stored->list[i].key_id))
            (void)cvm_issuers_share(&admission->issuers, &stored->list[i]);
    admission_end(admission, CVM_ANSWER_OK, NULL);
}

/* Names who signs here, and those of the store. */
static void admission_refuse(struct admission *admission)
{
    char why[WHY_SIZE];
    const struct ca_issuers *stored = &admission->stored;
    int length = snprintf(why, sizeof why,
        "the issuing CA of this server (key id %s) is not among the store's (",
        cvm_ca_issuing(admission->ca)->key_id);
    for (uint32_t i = 0; i < stored->count && length < WHY_SIZE; i++)
        length += snprintf(why + length, (size_t)(WHY_SIZE - length), "%s%s", i ? ", " : "",
            stored->list[i].key_id);
    if (length < WHY_SIZE)
        (void)snprintf(why + length, (size_t)(WHY_SIZE - length), ")");
    admission_end(admission, CVM_ANSWER_INVALID, why);
}

/* --- Admitting more --------------------------------------------------------------------------- */

/* What the property ca.admit names and the store does not have yet, behind what it has. NULL: there
 * is nothing to add, or why not. Freed by the caller. */
static char *admission_more(
    const struct admission *admission, const char *text, char *error, size_t error_size)
{
    const struct platform *platform = admission->platform;
    const char *path = platform->host->property(platform->context, "ca.admit");
    size_t length;
    char *pem = *path ? cvm_files_read(path, &length, error, error_size) : NULL;
    struct ca_issuers wanted = {.count = 0};
    char *more = NULL;
    if (pem && (admission_parse(pem, &wanted) || !wanted.count))
        (void)snprintf(
            error, error_size, "ca.admit: %.120s holds what is no CA's certificate", path);
    if (pem && !*error && admission->stored.count + wanted.count > MOST_ISSUERS)
        (void)snprintf(error, error_size,
            "ca.admit: the store has %u issuing CAs, and %u are the most", admission->stored.count,
            MOST_ISSUERS);
    for (uint32_t i = 0; pem && !*error && i < wanted.count; i++) {
        char *added = NULL, *certificate = cvm_ca_certificate_pem(wanted.list[i].certificate);
        if (X509_check_issued(admission->ca->root, wanted.list[i].certificate) != X509_V_OK ||
            X509_verify(wanted.list[i].certificate, X509_get0_pubkey(admission->ca->root)) != 1)
            (void)snprintf(error, error_size, "ca.admit: %.120s is not issued by this root", path);
        else if (!admission_has(&admission->stored, &wanted.list[i]) &&
                 (!certificate || asprintf(&added, "%s%s", more ? more : text, certificate) < 0))
            (void)snprintf(error, error_size, "out of memory");
        free(certificate);
        if (added) {
            free(more);
            more = added;
        }
    }
    ERR_clear_error();
    cvm_issuers_clear(&wanted);
    free(pem);
    return more;
}

static void admission_compare(struct admission *admission, const char *text, int64_t version)
{
    char error[WHY_SIZE] = "";
    cvm_issuers_clear(&admission->stored);
    if (admission_parse(text, &admission->stored) || !admission->stored.count) {
        admission_end(
            admission, CVM_ANSWER_UNAVAILABLE, "the store's " ISSUERS_NAME " can't be read");
        return;
    }
    if (!admission_has(&admission->stored, cvm_ca_issuing(admission->ca))) {
        admission_refuse(admission);
        return;
    }
    char *more = admission_more(admission, text, error, sizeof error);
    if (*error) {
        free(more);
        admission_end(admission, CVM_ANSWER_INVALID, error);
    } else if (more) {
        admission_put(admission, version, more);
    } else {
        admission_take(admission);
    }
}

/* --- Asking ----------------------------------------------------------------------------------- */

static void admission_got(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct admission *admission = argument;
    const cvm_host_t *host = admission->platform->host;
    const char *text = host->op_text(op, CVM_OUT_VALUE);
    if (answer == CVM_ANSWER_NOT_FOUND)
        admission_put(admission, 0, admission_text(admission->ca));
    else if (answer == CVM_ANSWER_OK && text)
        admission_compare(admission, text, host->op_number(op, CVM_OUT_VERSION));
    else
        admission_end(admission, CVM_ANSWER_UNAVAILABLE, "the store does not answer");
}

static void admission_get(struct admission *admission)
{
    const struct platform *platform = admission->platform;
    if (platform->host->store_meta_get(platform->context, ISSUERS_NAME, admission_got, admission))
        admission_end(admission, CVM_ANSWER_UNAVAILABLE, "out of memory");
}

void cvm_admission_ask(
    struct platform *platform, const struct ca *ca, admission_done done, void *argument)
{
    struct admission *admission = calloc(1, sizeof *admission);
    if (!admission) {
        struct ca_issuers none = {.count = 0};
        done(argument, CVM_ANSWER_UNAVAILABLE, "out of memory", &none);
        return;
    }
    *admission =
        (struct admission){.platform = platform, .ca = ca, .done = done, .argument = argument};
    admission_get(admission);
}
