/* What a certificate's PEM says, for records of platforms that answer little else. */
#ifndef CVM_CORE_CERTIFICATE_H
#define CVM_CORE_CERTIFICATE_H

#include "cvm/plugin.h"

/* Fills in the id, serial and times that a certificate's record lacks. 0, or -1 if it has no PEM,
 * or one that can't be read. */
int32_t cvm_certificate_complete(cvm_record_t *certificate);

#endif
