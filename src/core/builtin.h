/* What is compiled in. builtin.c alone names backends and transports. */
#ifndef CVM_CORE_BUILTIN_H
#define CVM_CORE_BUILTIN_H

#include "cvm/plugin.h"
#include "transport.h"

extern const cvm_plugin_fn CVM_BUILTIN_PLUGINS[];
extern const uint32_t CVM_BUILTIN_PLUGIN_COUNT;
/* What these register, "store NAME" and so on; ends with NULL. */
extern const char *const CVM_BUILTIN_NAMES[];
extern const struct cvm_transport_ops *const CVM_BUILTIN_TRANSPORTS[];
extern const uint32_t CVM_BUILTIN_TRANSPORT_COUNT;

#endif
