/* Thing names: [a-zA-Z0-9:_-]{1,128} (AWS IoT's rule), 64 bytes where it becomes a CN. */
#include "thing.h"

#include <stdio.h>
#include <string.h>

#include "error.h"
#include "instance.h"
#include "token.h"

#define PLACE      "%DEVICE_UID%"
#define LONGEST_CN 64

/* Returns the name's length, which may be more than there is room. */
static int fill_in(const char *format, const char *uid, char name[CVM_THING_NAME_SIZE])
{
    const char *place = strstr(format, PLACE);
    return snprintf(name, CVM_THING_NAME_SIZE, "%.*s%s%s", (int)(place - format), format, uid,
        place + strlen(PLACE));
}

cvm_error_t *cvm_thing_check_format(const char *format)
{
    char example[CVM_THING_NAME_SIZE];
    const char *place = strstr(format, PLACE);
    if (!place || strstr(place + 1, PLACE))
        return cvm_error_new(
            REASON_configuration, "thing.name_format must hold %s exactly once", PLACE);
    int length = fill_in(format, "x", example);
    if (length >= CVM_THING_NAME_SIZE || !cvm_uid_is_valid(example))
        return cvm_error_new(REASON_configuration,
            "thing.name_format makes no valid name: at most 128 of A-Z a-z 0-9 : _ -");
    return NULL;
}

cvm_error_t *cvm_thing_name(const cvm_t *cvm, const char *uid, char name[CVM_THING_NAME_SIZE])
{
    if (!cvm_uid_is_valid(uid))
        return cvm_error_new(
            REASON_invalid_request, "device_uid must be 1 to 128 of A-Z a-z 0-9 : _ -");
    int length = fill_in(cvm_conf_own(cvm->conf, "thing.name_format"), uid, name);
    int longest =
        cvm->platform.flags & CVM_PLATFORM_NAME_IS_CN ? LONGEST_CN : CVM_THING_NAME_SIZE - 1;
    /* A thing's name is made of the same characters as a uid. */
    if (length > longest || !cvm_uid_is_valid(name))
        return cvm_error_new(REASON_invalid_request,
            "device_uid makes no valid thing name: at most %d of A-Z a-z 0-9 : _ -", longest);
    return NULL;
}

cvm_error_t *cvm_check_uid(const cvm_t *cvm, const char *uid)
{
    char name[CVM_THING_NAME_SIZE];
    return cvm_thing_name(cvm, uid, name);
}
