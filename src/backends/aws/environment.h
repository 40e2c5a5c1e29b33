/* What the environment says. */
#ifndef CVM_AWS_ENVIRONMENT_H
#define CVM_AWS_ENVIRONMENT_H

#include <stdint.h>

/* A variable; NULL if it is empty too. */
const char *cvm_aws_variable(const char *name);
/* The first of two that is set; NULL. */
const char *cvm_aws_either(const char *name, const char *other);
/* Does a variable say "true"? */
int32_t cvm_aws_is_on(const char *name);

#endif
