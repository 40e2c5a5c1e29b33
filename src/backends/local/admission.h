/* Which issuing CAs the store's devices have: a value of the store, their certificates. A server
 * with another CA would sign what no other server revokes. */
#ifndef CVM_LOCAL_ADMISSION_H
#define CVM_LOCAL_ADMISSION_H

#include "platform.h"

#define ISSUERS_NAME "issuing_cas"

/* answer: OK, INVALID (another CA) or UNAVAILABLE, and why not. issuers has them all, on
 * OK: those whose keys are here as the folder has them, then the others; the callee's. */
typedef void (*admission_done)(
    void *argument, cvm_answer_t answer, const char *why, struct ca_issuers *issuers);

/* Compares the CA with the store's, on the loop; a store without any takes these. ca is borrowed
 * until done is called, once, perhaps before this returns. */
void cvm_admission_ask(
    struct platform *platform, const struct ca *ca, admission_done done, void *argument);

#endif
