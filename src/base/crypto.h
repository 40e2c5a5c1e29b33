/* OpenSSL's own start, and what everybody asks of it. */
#ifndef CVM_BASE_CRYPTO_H
#define CVM_BASE_CRYPTO_H

#include <stdint.h>

/* To be asked before anything else of OpenSSL is called: without memory for its start, its
 * functions crash. Any thread, any number of times. 0, or -1: nothing works then, in this process.
 */
int32_t cvm_crypto_init(void);

struct asn1_string_st;
/* An ASN1_TIME as milliseconds since 1970; 0 if it is none. */
int64_t cvm_asn1_time_ms(const struct asn1_string_st *time);
/* The other way, in RFC 5280's form (§4.1.2.5: UTCTime before 2050). Not by OpenSSL's time_t, which
 * may be too narrow. 0, or -1: no memory, or not in 1970 to 9999. */
int32_t cvm_asn1_time_set(struct asn1_string_st *time, int64_t ms);

#endif
