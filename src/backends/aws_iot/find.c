/* A certificate that may have been made, and that nobody recorded, by its key: the newest ones of
 * the account are looked at, as far as that is bearable. */
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/clock.h"
#include "base/hex.h"
#include "platform.h"

#define PAGES     8
#define LOOKS     20
#define PAGE_SIZE "100"
#define WINDOW_MS 120000 /* two leases before the end of the one in which it was made */
#define AGAIN_MS  1000
#define MISSING   "ResourceNotFoundException"

struct find {
    struct step step;
    char key[65];
    int64_t since_ms;
    uint32_t pages, looks;
    cJSON *page;
    char marker[1024];
};

static struct find *find_of(struct step *step)
{
    return (struct find *)(void *)step;
}

static void find_list(struct step *step);
static void find_look(struct step *step);

/* The SHA-256 of the certificate's SubjectPublicKeyInfo; "" if it is none. */
static const char *key_of(const char *pem, char sha256[65])
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    uint8_t *key = NULL;
    int length = certificate ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key) : -1;
    *sha256 = 0;
    if (length > 0)
        (void)cvm_sha256_hex(key, (size_t)length, sha256);
    OPENSSL_free(key);
    X509_free(certificate);
    BIO_free(bio);
    return sha256;
}

static void find_answer(struct step *step, const cJSON *description)
{
    const cvm_host_t *host = step->platform->aws.host;
    cvm_record_t *record = host->record_new(CVM_RECORD_CERTIFICATE);
    cvm_iot_learn_arn(step->platform, cvm_iot_text(description, "certificateArn"));
    if (!record ||
        host->set_text(record, CVM_C_CERTIFICATE_ID, cvm_iot_text(description, "certificateId")) ||
        host->set_text(record, CVM_C_PEM, cvm_iot_text(description, "certificatePem")) ||
        host->set_text(record, CVM_C_STATE, "pending")) {
        host->record_free(record);
        cvm_iot_end(step, CVM_ANSWER_BROKEN, "AWS IoT describes a certificate that is none");
    } else if (host->op_add_record(step->aws.op, record)) {
        cvm_aws_job_out_of_memory(&step->aws);
    } else {
        cvm_iot_end(step, CVM_ANSWER_OK, NULL);
    }
}

static void find_described(struct step *step)
{
    const cJSON *description =
        cJSON_GetObjectItemCaseSensitive(step->aws.call.answer, "certificateDescription");
    char key[65];
    if (strcmp(key_of(cvm_iot_text(description, "certificatePem"), key), find_of(step)->key) == 0)
        find_answer(step, description);
    else
        find_look(step);
}

/* One that was made since then, and is not active. -1: it is older, and so are all behind it. */
static int32_t is_candidate(const struct find *find, const cJSON *item)
{
    double created = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(item, "creationDate"));
    if (created * 1000 < (double)find->since_ms)
        return -1;
    return strcmp(cvm_iot_text(item, "status"), "INACTIVE") == 0;
}

static void find_again(struct aws_job *job);

/* It is not there; or not yet. */
static void find_end(struct step *step)
{
    if (cvm_monotonic_ms() >= step->platform->lists_lag_until_ms)
        cvm_iot_end(step, CVM_ANSWER_NOT_FOUND, NULL);
    else if (cvm_aws_job_wait(&step->aws, AGAIN_MS, find_again))
        cvm_iot_end(
            step, CVM_ANSWER_UNAVAILABLE, "AWS IoT's list of certificates may not be complete yet");
}

/* Looks at the next candidate of the page, or asks for the next page. */
static void find_look(struct step *step)
{
    static const char *const ANSWERS[] = {MISSING, NULL};
    struct find *find = find_of(step);
    for (cJSON *item; find->page && (item = find->page->child);) {
        item = cJSON_DetachItemViaPointer(find->page, item);
        int32_t is = is_candidate(find, item);
        if (is > 0)
            cvm_iot_path(step, "certificates", cvm_iot_text(item, "certificateId"), NULL);
        cJSON_Delete(item);
        if (is < 0 || (is > 0 && find->looks++ == LOOKS)) {
            find_end(step);
            return;
        }
        if (is > 0) {
            step->answers = ANSWERS;
            cvm_iot_call(step, IOT_DESCRIBE_CERTIFICATE, "", find_described);
            return;
        }
    }
    if (!*find->marker || find->pages == PAGES)
        find_end(step);
    else
        find_list(step);
}

static void find_listed(struct step *step)
{
    struct find *find = find_of(step);
    cJSON_Delete(find->page);
    find->page = cJSON_DetachItemFromObjectCaseSensitive(step->aws.call.answer, "certificates");
    (void)snprintf(
        find->marker, sizeof find->marker, "%s", cvm_iot_text(step->aws.call.answer, "nextMarker"));
    find_look(step);
}

static void find_list(struct step *step)
{
    struct find *find = find_of(step);
    cvm_buffer_clear(&step->query);
    cvm_buffer_text(&step->query, "isAscendingOrder=false");
    if (*find->marker) {
        cvm_buffer_text(&step->query, "&marker=");
        cvm_aws_encode(&step->query, find->marker, 0);
    }
    cvm_buffer_text(&step->query, "&pageSize=" PAGE_SIZE);
    find->pages++;
    cvm_iot_path(step, "certificates", NULL, NULL);
    cvm_iot_call(step, IOT_LIST_CERTIFICATES, step->query.text, find_listed);
}

static void find_again(struct aws_job *job)
{
    struct find *find = find_of((struct step *)(void *)job);
    *find->marker = 0;
    find->pages = find->looks = 0;
    find_list(&find->step);
}

static void find_clear(struct step *step)
{
    cJSON_Delete(find_of(step)->page);
}

void cvm_iot_find_by_key(
    void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    struct platform *platform = self;
    const cvm_host_t *host = platform->aws.host;
    struct find *find = (struct find *)(void *)cvm_iot_step_of_size(
        platform, op, VERB_READS, device, certificate, sizeof *find);
    if (!find)
        return;
    int64_t until_ms = host->number(device, CVM_D_LEASE_UNTIL);
    find->step.clear = find_clear;
    find->since_ms = (until_ms ? until_ms : host->now_ms(platform->aws.context)) - WINDOW_MS;
    (void)snprintf(
        find->key, sizeof find->key, "%s", host->text(certificate, CVM_C_PUBLIC_KEY_SHA256));
    find_list(&find->step);
}
