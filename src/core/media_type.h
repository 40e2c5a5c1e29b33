/* Which format a payload is in, by its media type. */
#ifndef CVM_CORE_MEDIA_TYPE_H
#define CVM_CORE_MEDIA_TYPE_H

#include <stdint.h>

/* 1 if the library reads payloads of that type: as JSON, which is the one format so far. NULL and
 * "" stand for no type. Parameters mean nothing: JSON is UTF-8. */
int32_t cvm_media_type_is_taken(const char *media_type);

#endif
