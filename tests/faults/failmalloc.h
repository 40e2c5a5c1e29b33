/*
 * The switches of libcvm-failmalloc.so for a test that runs under it: it finds them with
 * dlsym(RTLD_DEFAULT, ...) and so runs without the library as well.
 */
#ifndef CVM_FAULTS_FAILMALLOC_H
#define CVM_FAULTS_FAILMALLOC_H

#include <stdint.h>

/* Counts from nought again; the nth allocation from now on fails (1 is the next one), 0 for none.
 */
void failmalloc_arm(int64_t nth);

/* Allocations counted since then: the nth has failed if this is n or more. */
int64_t failmalloc_count(void);

#endif
