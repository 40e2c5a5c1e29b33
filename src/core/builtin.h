/* What is compiled in. builtin.c, which cmake/builtin.cmake writes, alone names backends,
 * transports and formats. Each list ends with NULL. */
#ifndef CVM_CORE_BUILTIN_H
#define CVM_CORE_BUILTIN_H

#include "cvm/plugin.h"
#include "formats/format.h"
#include "transport.h"

extern const cvm_plugin_fn CVM_BUILTIN_PLUGINS[];
/* What these register, "store NAME" and so on. */
extern const char *const CVM_BUILTIN_NAMES[];
extern const struct cvm_transport_ops *const CVM_BUILTIN_TRANSPORTS[];
extern const struct cvm_format *const CVM_BUILTIN_FORMATS[]; /* JSON is among them */

#endif
