#include "admission.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#define MOST_TRIES 5
#define WHY_SIZE   240

struct admission {
    struct platform *platform;
    const struct ca *ca;
    struct ca_issuers issuers;
    uint32_t tries;
    admission_done done;
    void *argument;
};

static void admission_get(struct admission *admission);

static void admission_end(struct admission *admission, cvm_answer_t answer, const char *why)
{
    admission->done(admission->argument, answer, why, &admission->issuers);
    cvm_issuers_clear(&admission->issuers);
    free(admission);
}

static void admission_without_memory(struct admission *admission)
{
    admission_end(admission, CVM_ANSWER_UNAVAILABLE, "out of memory");
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

/* Whoever was faster is asked, as is who may have been. */
static void admission_is_put(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct admission *admission = argument;
    (void)op;
    if (answer == CVM_ANSWER_OK)
        admission_end(admission, CVM_ANSWER_OK, NULL);
    else if ((answer == CVM_ANSWER_CONFLICT || answer == CVM_ANSWER_UNKNOWN) &&
             ++admission->tries < MOST_TRIES)
        admission_get(admission);
    else
        admission_end(admission, CVM_ANSWER_UNAVAILABLE, "the issuing CA can't be written down");
}

static void admission_put(struct admission *admission)
{
    const struct platform *platform = admission->platform;
    char *text = admission_text(admission->ca);
    if (!text || platform->host->store_meta_put(
                     platform->context, ISSUERS_NAME, 0, text, admission_is_put, admission))
        admission_without_memory(admission);
    free(text);
}

/* --- The others ------------------------------------------------------------------------------- */

/* Ours is noted by its index; another is added. Takes the certificate. 0, or -1 if it is no CA's.
 */
static int32_t admission_take(
    struct admission *admission, X509 *certificate, int32_t is_there[MOST_ISSUERS])
{
    const struct ca_issuers *own = &admission->ca->issuers;
    for (uint32_t i = 0; i < own->count; i++) {
        if (X509_cmp(own->list[i].certificate, certificate) == 0) {
            is_there[i] = 1;
            X509_free(certificate);
            return 0;
        }
    }
    if (!cvm_issuers_add(&admission->issuers, certificate, NULL))
        return 0;
    X509_free(certificate);
    return -1;
}

/* 0, or -1 if something there is no issuing CA. */
static int32_t admission_parse(
    struct admission *admission, const char *text, int32_t is_there[MOST_ISSUERS])
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509 *certificate;
    int32_t failed = !bio;
    while (!failed && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        failed = admission_take(admission, certificate, is_there);
    if (!failed)
        failed = !cvm_ca_is_at_end();
    ERR_clear_error();
    BIO_free(bio);
    return failed ? -1 : 0;
}

/* Names the first of ours that is not there, and those of the store. */
static void admission_refuse(struct admission *admission, const char *key_id)
{
    char why[WHY_SIZE];
    const struct ca_issuers *others = &admission->issuers;
    int length = snprintf(why, sizeof why,
        "the issuing CA of this server (key id %s) is not among the store's (", key_id);
    for (uint32_t i = admission->ca->issuers.count; i < others->count && length < WHY_SIZE; i++)
        length += snprintf(why + length, (size_t)(WHY_SIZE - length), "%s%s",
            i > admission->ca->issuers.count ? ", " : "", others->list[i].key_id);
    if (length < WHY_SIZE)
        (void)snprintf(why + length, (size_t)(WHY_SIZE - length), ")");
    admission_end(admission, CVM_ANSWER_INVALID, why);
}

static void admission_compare(struct admission *admission, const char *text)
{
    int32_t is_there[MOST_ISSUERS] = {0};
    const struct ca_issuers *own = &admission->ca->issuers;
    if (admission_parse(admission, text, is_there)) {
        admission_end(admission, CVM_ANSWER_BROKEN, "the store's " ISSUERS_NAME " can't be read");
        return;
    }
    for (uint32_t i = 0; i < own->count; i++) {
        if (!is_there[i]) {
            admission_refuse(admission, own->list[i].key_id);
            return;
        }
    }
    admission_end(admission, CVM_ANSWER_OK, NULL);
}

/* --- Asking ----------------------------------------------------------------------------------- */

static void admission_got(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct admission *admission = argument;
    const char *text = admission->platform->host->op_text(op, CVM_OUT_VALUE);
    if (answer == CVM_ANSWER_NOT_FOUND)
        admission_put(admission);
    else if (answer == CVM_ANSWER_OK && text)
        admission_compare(admission, text);
    else
        admission_end(admission, CVM_ANSWER_UNAVAILABLE, "the store does not answer");
}

static void admission_get(struct admission *admission)
{
    const struct platform *platform = admission->platform;
    if (platform->host->store_meta_get(platform->context, ISSUERS_NAME, admission_got, admission))
        admission_without_memory(admission);
}

/* Our own come first, in the folder's order. */
static void admission_take_own(struct admission *admission)
{
    const struct ca_issuers *own = &admission->ca->issuers;
    for (uint32_t i = 0; i < own->count; i++) {
        (void)X509_up_ref(own->list[i].certificate);
        (void)EVP_PKEY_up_ref(own->list[i].key);
    }
    admission->issuers = *own;
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
    admission_take_own(admission);
    admission_get(admission);
}
