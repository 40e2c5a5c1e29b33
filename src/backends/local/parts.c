/* Writing and reading parts, one after the other. */
#include "parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#define PART_SIZE   ((size_t)192000) /* as base64 it has 256,000 bytes: below CVM_LARGEST_VALUE */
#define BASE64_SIZE (PART_SIZE / 3 * 4 + 1)
#define MOST_TRIES  3 /* of a part whose outcome is not known */

/* A CRL on its way into the store, or out of it. */
struct transfer {
    struct platform *platform;
    struct crl_head head;
    const uint8_t *put; /* of length bytes */
    uint8_t *got;       /* so many of them by now */
    size_t length;
    uint32_t part, tries;
    void (*next)(struct transfer *transfer); /* puts or gets the part */
    parts_done done;
    void *argument;
};

uint32_t cvm_parts_of(size_t length)
{
    return (uint32_t)((length + PART_SIZE - 1) / PART_SIZE);
}

void cvm_part_name(const struct crl_head *head, uint32_t part, char name[PART_NAME_SIZE])
{
    (void)snprintf(name, PART_NAME_SIZE, PART_PREFIX "%s.%" PRId64 ".%.16s.%" PRIu32, head->issuer,
        head->number, head->sha256, part);
}

static void transfer_end(struct transfer *transfer, cvm_answer_t answer)
{
    struct transfer ended = *transfer;
    free(transfer);
    if (answer != CVM_ANSWER_OK) {
        free(ended.got);
        ended.got = NULL;
    }
    ended.done(ended.argument, answer, ended.got, ended.length);
}

/* Takes what is got into. */
static void transfer_start(struct transfer transfer)
{
    struct transfer *copy = transfer.put || transfer.got ? malloc(sizeof *copy) : NULL;
    if (copy) {
        *copy = transfer;
        copy->next(copy);
    } else {
        free(transfer.got);
        transfer.done(transfer.argument, CVM_ANSWER_UNAVAILABLE, NULL, 0);
    }
}

static size_t transfer_part_length(const struct transfer *transfer)
{
    size_t left = transfer->length - transfer->part * PART_SIZE;
    return left < PART_SIZE ? left : PART_SIZE;
}

/* --- Putting ---------------------------------------------------------------------------------- */

/* A part that is there already is this one: its name says so. */
static void part_put(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct transfer *transfer = argument;
    (void)op;
    if (answer == CVM_ANSWER_UNKNOWN && ++transfer->tries < MOST_TRIES) {
        transfer->next(transfer);
    } else if (answer != CVM_ANSWER_OK && answer != CVM_ANSWER_CONFLICT) {
        transfer_end(transfer, CVM_ANSWER_UNAVAILABLE);
    } else if (++transfer->part < transfer->head.parts) {
        transfer->tries = 0;
        transfer->next(transfer);
    } else {
        transfer_end(transfer, CVM_ANSWER_OK);
    }
}

static void put_part(struct transfer *transfer)
{
    const struct platform *platform = transfer->platform;
    char name[PART_NAME_SIZE];
    char *base64 = malloc(BASE64_SIZE);
    cvm_part_name(&transfer->head, transfer->part, name);
    if (base64)
        (void)EVP_EncodeBlock((unsigned char *)base64, transfer->put + transfer->part * PART_SIZE,
            (int)transfer_part_length(transfer));
    if (!base64 ||
        platform->host->store_meta_put(platform->context, name, 0, base64, part_put, transfer))
        transfer_end(transfer, CVM_ANSWER_UNAVAILABLE);
    free(base64);
}

void cvm_parts_put(struct platform *platform, const struct crl_head *head, const uint8_t *der,
    size_t length, parts_done done, void *argument)
{
    transfer_start((struct transfer){.platform = platform,
        .head = *head,
        .put = der,
        .length = length,
        .next = put_part,
        .done = done,
        .argument = argument});
}

/* --- Getting ---------------------------------------------------------------------------------- */

/* How many bytes a part has; 0 if it is none. Room is for a whole one. */
static size_t part_decode(const char *base64, uint8_t *to)
{
    size_t size = strlen(base64);
    if (!size || size % 4 || size >= BASE64_SIZE)
        return 0;
    int length = EVP_DecodeBlock(to, (const unsigned char *)base64, (int)size);
    for (size_t i = size; length > 0 && base64[i - 1] == '=' && size - i < 2; i--)
        length--;
    return length > 0 ? (size_t)length : 0;
}

static void got_all(struct transfer *transfer)
{
    char sha256[CVM_SHA256_HEX_SIZE];
    int32_t is_it = !cvm_sha256_hex(transfer->got, transfer->length, sha256) &&
                    strcmp(sha256, transfer->head.sha256) == 0;
    transfer_end(transfer, is_it ? CVM_ANSWER_OK : CVM_ANSWER_BROKEN);
}

static void part_got(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct transfer *transfer = argument;
    const char *base64 = transfer->platform->host->op_text(op, CVM_OUT_VALUE);
    if (answer != CVM_ANSWER_OK || !base64) {
        transfer_end(transfer, answer == CVM_ANSWER_NOT_FOUND || answer == CVM_ANSWER_BROKEN
                                   ? answer
                                   : CVM_ANSWER_UNAVAILABLE);
        return;
    }
    size_t length = part_decode(base64, transfer->got + transfer->length);
    transfer->length += length;
    if (!length)
        transfer_end(transfer, CVM_ANSWER_BROKEN);
    else if (++transfer->part < transfer->head.parts)
        transfer->next(transfer);
    else
        got_all(transfer);
}

static void get_part(struct transfer *transfer)
{
    const struct platform *platform = transfer->platform;
    char name[PART_NAME_SIZE];
    cvm_part_name(&transfer->head, transfer->part, name);
    if (platform->host->store_meta_get(platform->context, name, part_got, transfer))
        transfer_end(transfer, CVM_ANSWER_UNAVAILABLE);
}

void cvm_parts_get(
    struct platform *platform, const struct crl_head *head, parts_done done, void *argument)
{
    transfer_start((struct transfer){.platform = platform,
        .head = *head,
        .got = malloc(head->parts * PART_SIZE),
        .next = get_part,
        .done = done,
        .argument = argument});
}
