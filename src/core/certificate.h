/* What a certificate's PEM says, for records of platforms that answer little else. */
#ifndef CVM_CORE_CERTIFICATE_H
#define CVM_CORE_CERTIFICATE_H

#include "cvm/plugin.h"

/* Fills in the id, serial and times that a certificate's record lacks. 0, or -1 if it has no PEM,
 * or one that can't be read. */
int32_t cvm_certificate_complete(cvm_record_t *certificate);

/* 1 if one of the list, in which there may be NULL, is that certificate. */
int32_t cvm_certificate_is_listed(
    cvm_record_t *const *list, uint32_t count, const cvm_record_t *certificate);
/* 1 if it is the device's current certificate. */
int32_t cvm_certificate_is_of(const cvm_record_t *certificate, const cvm_record_t *device);
/* Completes a certificate that the platform has found as one that is in the making: pending, the
 * device's, and for that key. 0, or -1 if it can't be read, or without memory. */
int32_t cvm_certificate_found(
    cvm_record_t *certificate, const char *device_uid, const char *key_sha256);

#endif
