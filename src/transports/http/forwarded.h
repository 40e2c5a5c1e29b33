/* What a trusted proxy says in a header of the peer behind it. */
#ifndef CVM_HTTP_FORWARDED_H
#define CVM_HTTP_FORWARDED_H

#include "transports/common/address.h"

/* Which header the proxies write; as http.forwarded_header's choices. The other one may come from
 * the device itself. */
enum cvm_forwarded_header { FORWARDED_X_FORWARDED_FOR, FORWARDED_RFC7239 };

/* Its name, in lower case. */
const char *cvm_forwarded_name(enum cvm_forwarded_header header);
/* The last address in the header's list that is not a trusted proxy's, without its port; client
 * stays as it is if there is none. */
void cvm_forwarded_client(enum cvm_forwarded_header header, const char *list,
    const struct cvm_networks *trusted, char client[CVM_ADDRESS_SIZE]);

#endif
