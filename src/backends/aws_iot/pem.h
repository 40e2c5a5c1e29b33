/* Certificates in what AWS answers, read for what they are. Any thread. */
#ifndef CVM_AWS_IOT_PEM_H
#define CVM_AWS_IOT_PEM_H

#include <stdint.h>

#include "base/hex.h"

/* A certificate's id (SHA-256 of its DER), and the SHA-256 of its SubjectPublicKeyInfo. 0, or -1 if
 * it is none. */
int32_t cvm_iot_read_certificate(
    const char *pem, char id[CVM_SHA256_HEX_SIZE], char key_sha256[CVM_SHA256_HEX_SIZE]);

#endif
