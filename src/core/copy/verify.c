/* The target, whole, against what the last pass has seen of the source. */
#include <string.h>

#include <openssl/evp.h>

#include "copy.h"

#define PAGE 500

/* Adds a digest of all fields but the revision, which a row that another writer made has only in
 * the target: the sum is the same in whichever order records come. */
void cvm_copy_sum_add(struct copy_sum *sum, cvm_record_kind_t kind, const cvm_record_t *record)
{
    uint8_t digest[EVP_MAX_MD_SIZE] = {0};
    uint64_t parts[2];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int32_t is_ok = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    for (uint32_t i = 0; is_ok && i < cvm_field_count(kind); i++) {
        int32_t counts = kind != CVM_RECORD_DEVICE || i != CVM_D_REVISION;
        int64_t number = counts ? cvm_record_number(record, i) : 0;
        const char *text = cvm_record_text(record, i);
        is_ok = EVP_DigestUpdate(context, &number, sizeof number) &&
                EVP_DigestUpdate(context, text, strlen(text) + 1);
    }
    is_ok = is_ok && EVP_DigestFinal_ex(context, digest, NULL);
    EVP_MD_CTX_free(context);
    if (!is_ok)
        return; /* the sums differ then */
    memcpy(parts, digest, sizeof parts);
    sum->parts[0] += parts[0];
    sum->parts[1] += parts[1];
    sum->count++;
}

static void verify_compare(struct copy *copy)
{
    const struct copy_sum(*sums)[2] = (const struct copy_sum(*)[2])copy->sums;
    for (uint32_t kind = 0; kind < 2; kind++) {
        if (memcmp(&sums[0][kind], &sums[1][kind], sizeof sums[0][kind]) == 0)
            continue;
        cvm_copy_fail(copy,
            cvm_error_new(REASON_conflict,
                "the target is not as the source: of %llu %s it has %llu%s",
                (unsigned long long)sums[0][kind].count, kind ? "certificates" : "devices",
                (unsigned long long)sums[1][kind].count,
                sums[0][kind].count == sums[1][kind].count ? ", and some of them are others" : ""));
        return;
    }
    cvm_copy_next(copy);
}

static void verify_certificates(struct copy *copy);

static void verify_page(struct copy *copy, cvm_op_t *op)
{
    struct copy_sum *sums = copy->sums[1];
    for (uint32_t i = 0; i < op->record_count; i++)
        cvm_copy_sum_add(&sums[copy->kind == CVM_RECORD_CERTIFICATE], copy->kind, op->records[i]);
    if (!cvm_copy_tell(copy, "rows verified", sums[0].count + sums[1].count))
        cvm_copy_scan_on(
            copy, copy->kind == CVM_RECORD_DEVICE ? verify_certificates : verify_compare);
}

static void verify_certificates(struct copy *copy)
{
    cvm_copy_scan_rows(copy, copy->to, CVM_RECORD_CERTIFICATE, PAGE, verify_page);
}

void cvm_copy_verify(struct copy *copy)
{
    cvm_copy_scan_rows(copy, copy->to, CVM_RECORD_DEVICE, PAGE, verify_page);
}
