/* How errors reach the operator: one line on standard error that names the thing and says what to
 * do. The status of sysexits.h goes along, so that a function can `return report(EX_…, …)`. */
#ifndef CVM_DEVICE_REPORT_H
#define CVM_DEVICE_REPORT_H

#include <stdarg.h>
#include <sysexits.h>

/* Prints "cvm-device: …" and returns `status`. */
int report(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
