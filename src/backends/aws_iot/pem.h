/* Certificates in what AWS answers, read for what they are. Any thread. */
#ifndef CVM_AWS_IOT_PEM_H
#define CVM_AWS_IOT_PEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/hex.h"

/* A certificate's id (SHA-256 of its DER), and the SHA-256 of its SubjectPublicKeyInfo. 0, or -1 if
 * it is none. */
int32_t cvm_iot_read_certificate(
    const char *pem, char id[CVM_SHA256_HEX_SIZE], char key_sha256[CVM_SHA256_HEX_SIZE]);
/* The certificates of a text and nothing of what else is in it, PEM: freed by the caller. NULL if
 * there is none, or one that can't be read, or no memory. */
char *cvm_iot_read_anchors(const char *text, size_t length);

#endif
