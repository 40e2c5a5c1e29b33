/* `cvm store copy` and `cvm store thaw`. */
#ifndef CVM_CLI_STORE_COPY_H
#define CVM_CLI_STORE_COPY_H

#include <stdint.h>

/* argv[0] is "copy" or "thaw". 0 or an exit code. */
int32_t cli_store_copy(int argc, char **argv);
int32_t cli_store_thaw(int argc, char **argv);

#endif
