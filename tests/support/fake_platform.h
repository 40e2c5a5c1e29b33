/* The platform "fake:": it has effects outside the store, in a world of its own that all instances
 * of the process share, and fails as planned (faults.h; its own open and close are platform_open
 * and platform_close). "plain:" is the same without outside
 * effects. */
#ifndef CVM_TESTS_FAKE_PLATFORM_H
#define CVM_TESTS_FAKE_PLATFORM_H

#include "cvm/plugin.h"

enum fake_state { FAKE_INACTIVE, FAKE_ACTIVE, FAKE_REVOKED };

struct fake_certificate {
    char id[65], uid[129], thing[129]; /* thing: what it is attached to */
    char key[65];                      /* its public key's SHA-256 */
    enum fake_state state;
    int32_t has_policy, is_deleted, is_suspended;
};

int32_t plugin_fake(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

/* An empty world. The check is asked after each effect, for each certificate that is active:
 * whether the store has a record that leads to it. NULL: no check. */
void fake_clear(int32_t (*is_recorded)(const char *certificate_id));
/* A certificate that another system has made for a device, and hung on a thing. */
void fake_add(const char *id, const char *uid, const char *thing, enum fake_state state);
/* How often the check said no. */
uint32_t fake_violations(void);
/* Certificate i of the world, deleted ones too; NULL past the end. */
const struct fake_certificate *fake_certificate(uint32_t i);
/* By its id; NULL if there is none. */
const struct fake_certificate *fake_find(const char *certificate_id);
/* How many of a device ("" for all) are in that state and not deleted. */
uint32_t fake_count(const char *uid, enum fake_state state);
/* How many are there, are not deleted, and have a policy or a thing. */
uint32_t fake_attached(const char *uid);

#endif
