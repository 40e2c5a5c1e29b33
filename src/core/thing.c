/* Thing names: [a-zA-Z0-9:_-]{1,128} (AWS IoT's rule), 64 bytes where it becomes a CN. */
#include "thing.h"

#include <stdio.h>
#include <string.h>

#include "entry.h"
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

int32_t cvm_thing_format_is_valid(const char *format, int32_t longest)
{
    char example[CVM_THING_NAME_SIZE];
    const char *place = strstr(format, PLACE);
    return place && !strstr(place + 1, PLACE) && fill_in(format, "x", example) <= longest &&
           cvm_uid_is_valid(example);
}

static int32_t longest_name(const cvm_t *cvm)
{
    return cvm->platform.flags & CVM_PLATFORM_NAME_IS_CN ? LONGEST_CN : CVM_THING_NAME_SIZE - 1;
}

cvm_error_t *cvm_thing_check_format(const cvm_t *cvm)
{
    const char *format = cvm_conf_own(cvm->conf, "thing.name_format");
    return cvm_thing_format_is_valid(format, longest_name(cvm))
               ? NULL
               : cvm_error_configuration("thing.name_format",
                     "thing.name_format leaves no room for a uid: a name of this "
                     "platform has %d characters at most",
                     longest_name(cvm));
}

cvm_error_t *cvm_thing_name(const cvm_t *cvm, const char *uid, char name[CVM_THING_NAME_SIZE])
{
    if (!cvm_uid_is_valid(uid))
        return cvm_error_new(
            REASON_invalid_request, "device_uid must be 1 to 128 of A-Z a-z 0-9 : _ -");
    int length = fill_in(cvm_conf_own(cvm->conf, "thing.name_format"), uid, name);
    int longest = longest_name(cvm);
    /* A thing's name is made of the same characters as a uid. */
    if (length > longest || !cvm_uid_is_valid(name))
        return cvm_error_new(REASON_invalid_request,
            "device_uid makes no valid thing name: at most %d of A-Z a-z 0-9 : _ -", longest);
    return NULL;
}

cvm_error_t *cvm_check_uid(const cvm_t *cvm, const char *uid)
{
    char name[CVM_THING_NAME_SIZE];
    cvm_error_t *error = cvm_entry_of_any_thread(cvm, __func__, uid != NULL);
    return error ? error : cvm_thing_name(cvm, uid, name);
}
