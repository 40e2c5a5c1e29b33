/* Memory that held a token or a private key. */
#ifndef CVM_BASE_SECRET_H
#define CVM_BASE_SECRET_H

#include <stddef.h>

/* Wipes length bytes and frees them. NULL is fine. */
void cvm_secret_free(void *bytes, size_t length);
/* The same for a text that ends with NUL. */
void cvm_secret_free_text(char *text);

#endif
