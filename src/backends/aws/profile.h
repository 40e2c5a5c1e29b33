/* The shared files of AWS's SDKs and command line: ~/.aws/credentials and ~/.aws/config. Read anew
 * each time: tools that renew keys write them. */
#ifndef CVM_AWS_PROFILE_H
#define CVM_AWS_PROFILE_H

#include <stddef.h>
#include <stdint.h>

/* The profile that AWS_PROFILE names, or "default". */
const char *cvm_aws_profile_name(void);
/* What a profile says: in the credentials file, or else in the config file. Freed by the caller
 * with cvm_secret_free_text(). NULL if neither has it; why is "" then, unless a file is there and
 * can't be read. */
char *cvm_aws_profile_get(const char *profile, const char *name, char *why, size_t why_size);

#endif
