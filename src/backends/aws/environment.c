/* Variables. */
#include "environment.h"

#include <stdlib.h>
#include <strings.h>

const char *cvm_aws_variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

const char *cvm_aws_either(const char *name, const char *other)
{
    const char *value = cvm_aws_variable(name);
    return value ? value : cvm_aws_variable(other);
}

int32_t cvm_aws_is_on(const char *name)
{
    const char *value = getenv(name);
    return value && strcasecmp(value, "true") == 0;
}
