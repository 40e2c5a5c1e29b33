/* What is served to whoever fetches: the CRLs, the root, under /ca/. */
#ifndef CVM_LOCAL_DOCUMENTS_H
#define CVM_LOCAL_DOCUMENTS_H

#include "publication.h"

/* Serves what is in crl.pem now, and the root's certificate and CRL; in a thread. */
void cvm_documents_serve(struct publication *publication);

#endif
