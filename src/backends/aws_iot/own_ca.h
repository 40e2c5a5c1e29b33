/* Certificates of one's own CA, which AWS IoT is told of. On the loop. */
#ifndef CVM_AWS_IOT_OWN_CA_H
#define CVM_AWS_IOT_OWN_CA_H

#include "platform.h"

/* Reads the CA that aws.certificates names. 0 (and platform->ca NULL, if it names none), or -1 and
 * why. */
int32_t cvm_iot_ca_load(struct platform *platform, char *error, size_t error_size);
void cvm_iot_ca_clear(struct platform *platform);
/* Tells the host how long it lives. */
void cvm_iot_ca_tell(const struct platform *platform);
/* The step `create certificate` by that CA. */
void cvm_iot_ca_sign(struct step *step);
/* Registers the step's certificate at AWS IoT, inactive; one that is registered is fine. then(step)
 * is called with the outcome; AWS_ERROR only for what is refused. */
void cvm_iot_ca_register(struct step *step, void (*then)(struct step *step));
/* The issuing chain of a certificate, or of a new one (NULL); freed by the caller. NULL without
 * memory. */
char *cvm_iot_ca_chain(const struct platform *platform, const cvm_record_t *certificate);

#endif
