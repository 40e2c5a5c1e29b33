/*
 * What authors of stores and platforms read. A backend sees this file and nothing else of libcvm:
 * it is handed the host's table and needs neither a link to the library nor libuv.
 *
 * Enums cross as int32_t, and have names for their values beside them. A value that is not known is
 * one of a later release.
 *
 * Tables start with their size and only grow at the end; whoever reads one copies min(size, sizeof)
 * into zeroes. A member that is NULL is not offered; only those that say "may be NULL" may be.
 *
 * Threads: the verbs of a backend are called on the instance's loop and must not block: what takes
 * time goes to a thread. An operation is completed exactly once, by complete(), from any thread,
 * also inside the verb itself. Its arguments are borrowed until then.
 *
 * Time: the host waits for an operation as long as it takes, since what it may have done can't be
 * guessed. So a backend has deadlines of its own for whatever it waits for, and answers UNKNOWN
 * when one is over. `close` may be called while operations run: the backend cuts them short,
 * completes them, and then completes `close`; that is the last that the host hears of it.
 */
#ifndef CVM_PLUGIN_H
#define CVM_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One open store or platform as the host sees it; handed to its create(). */
typedef struct cvm_context_s cvm_context_t;
/** One asynchronous operation. */
typedef struct cvm_op_s cvm_op_t;
/** One device or one certificate: a row of named fields. */
typedef struct cvm_record_s cvm_record_t;
/** Where a plugin's entry function makes its backends known. */
typedef struct cvm_registry_s cvm_registry_t;
/** The host's table, at the end of this file. */
typedef struct cvm_host_s cvm_host_t;
/** A descriptor that is watched, and something that waits for its time; both on the loop. */
typedef struct cvm_watch_s cvm_watch_t;
typedef struct cvm_timer_s cvm_timer_t;

/* --- Records ---------------------------------------------------------------------------------- */

/* name, kind of value, longest text in bytes. Times are milliseconds since 1970. A text that was
 * never set reads as "", a number as 0; what is called is_... is 0 or 1. New fields come at the
 * end. */
#define CVM_DEVICE_FIELDS(X)                                                                       \
    X(D_DEVICE_UID, device_uid, TEXT, 128) /* of A-Z a-z 0-9 : _ - */                              \
    CVM_DEVICE_OTHER_FIELDS(X)
#define CVM_DEVICE_OTHER_FIELDS(X)                                                                 \
    X(D_DEVICE_TOKEN, device_token, TEXT, 256) /* "sha256:" and 64 hex digits, or literal */       \
    X(D_IS_ENABLED, is_enabled, NUMBER, 0)                                                         \
    X(D_IS_REGISTERED, is_registered, NUMBER, 0)                                                   \
    X(D_IS_REVOKED, is_revoked, NUMBER, 0)     /* by the operator; reset lifts it */               \
    X(D_IS_SUSPENDED, is_suspended, NUMBER, 0) /* what the platform has carried out */             \
    X(D_THING_NAME, thing_name, TEXT, 128)                                                         \
    X(D_REGISTERED_ON, registered_on, TEXT, 40)   /* "" until it has been with that thing_name */  \
    X(D_CERTIFICATE_ID, certificate_id, TEXT, 64) /* the current one */                            \
    X(D_PUBLIC_KEY_SHA256, public_key_sha256, TEXT, 64) /* its key's SPKI; unique among devices */ \
    X(D_KEY_ORIGIN, key_origin, TEXT, 8)                /* "csr" or "server" */                    \
    X(D_FIRST_ISSUED_AT, first_issued_at, NUMBER, 0)                                               \
    X(D_LAST_ISSUED_AT, last_issued_at, NUMBER, 0)                                                 \
    X(D_REISSUE_COUNT, reissue_count, NUMBER, 0)                                                   \
    X(D_LEASE_OWNER, lease_owner, TEXT, 32)                                                        \
    X(D_LEASE_UNTIL, lease_until, NUMBER, 0)                                                       \
    X(D_LEASE_PUBLIC_KEY_SHA256, lease_public_key_sha256, TEXT, 64)                                \
    X(D_LEASE_CERTIFICATE_ID, lease_certificate_id, TEXT, 64)                                      \
    /* The store's: random when the row begins (62 bits), then exactly one more with each write: a \
     * device that was removed and added anew is not what it was. */                               \
    X(D_REVISION, revision, NUMBER, 0)

#define CVM_CERTIFICATE_FIELDS(X)                                                                  \
    X(C_CERTIFICATE_ID, certificate_id, TEXT, 64) /* lower-case hex SHA-256 of the DER */          \
    CVM_CERTIFICATE_OTHER_FIELDS(X)
#define CVM_CERTIFICATE_OTHER_FIELDS(X)                                                            \
    CVM_CERTIFICATE_SCANNED_FIELDS(X)                                                              \
    X(C_PEM, pem, TEXT, 8192) /* not in what a scan answers */
#define CVM_CERTIFICATE_SCANNED_FIELDS(X)                                                          \
    X(C_DEVICE_UID, device_uid, TEXT, 128)                                                         \
    X(C_STATE, state, TEXT, 8)    /* pending, current, retiring, revoked */                        \
    X(C_SERIAL, serial, TEXT, 40) /* lower-case hex */                                             \
    X(C_ISSUER, issuer, TEXT, 40) /* the issuer's key id, lower-case hex */                        \
    X(C_NOT_BEFORE, not_before, NUMBER, 0)                                                         \
    X(C_NOT_AFTER, not_after, NUMBER, 0)                                                           \
    X(C_REVOKE_AFTER, revoke_after, NUMBER, 0) /* of a retiring one; 0: at once */                 \
    X(C_REVOKED_AT, revoked_at, NUMBER, 0)                                                         \
    X(C_REASON, reason, TEXT, 24)       /* RFC 5280 §5.3.1's name */                              \
    X(C_SUCCESSOR, successor, TEXT, 64) /* certificate_id */                                       \
    X(C_PUBLIC_KEY_SHA256, public_key_sha256, TEXT, 64)

/* What a scan of the store's values answers. */
#define CVM_VALUE_FIELDS(X)                                                                        \
    X(V_NAME, name, TEXT, 128)                                                                     \
    X(V_VERSION, version, NUMBER, 0) /* as meta_get answers it */

#define CVM_FIELD_ENUM_(id, name, kind, longest) CVM_##id,
typedef enum { CVM_DEVICE_FIELDS(CVM_FIELD_ENUM_) CVM_DEVICE_FIELD_COUNT } cvm_device_field_t;
typedef enum {
    CVM_CERTIFICATE_FIELDS(CVM_FIELD_ENUM_) CVM_CERTIFICATE_FIELD_COUNT
} cvm_certificate_field_t;
typedef enum { CVM_VALUE_FIELDS(CVM_FIELD_ENUM_) CVM_VALUE_FIELD_COUNT } cvm_value_field_t;

typedef int32_t cvm_record_kind_t;
enum { CVM_RECORD_DEVICE = 0, CVM_RECORD_CERTIFICATE = 1, CVM_RECORD_VALUE = 2 };
typedef int32_t cvm_field_kind_t;
enum { CVM_FIELD_TEXT = 0, CVM_FIELD_NUMBER = 1 };

/* --- Answers ---------------------------------------------------------------------------------- */

/** What an operation came to. */
typedef int32_t cvm_answer_t;
enum {
    CVM_ANSWER_OK = 0,
    CVM_ANSWER_NOT_FOUND = 1,   /**< no such device or value; swap of certificates alone: all of
                                     them were so already */
    CVM_ANSWER_CONFLICT = 2,    /**< swap: it is not as it was read any more, or the device would
                                     have a second current certificate */
    CVM_ANSWER_KEY_IN_USE = 3,  /**< swap: another device has this public key */
    CVM_ANSWER_UNAVAILABLE = 4, /**< it fails for now, and nothing was changed */
    CVM_ANSWER_BUSY = 5,        /**< quota or queue full, nothing was changed */
    CVM_ANSWER_BROKEN = 6,      /**< the other side answered what can't be understood */
    CVM_ANSWER_UNKNOWN = 7,     /**< it may have happened or not */
    CVM_ANSWER_INVALID = 8      /**< the input can't be taken, now or later */
};

/** Numbers that an operation answers beside records. */
typedef int32_t cvm_out_number_t;
enum {
    CVM_OUT_RETRY_AFTER_S = 0, /**< with BUSY or UNAVAILABLE: when the caller is to ask again */
    CVM_OUT_VERSION = 1,       /**< meta_get, meta_put: the value's */
    CVM_OUT_NOW_MS = 2,  /**< now: milliseconds since 1970; meta_get: the same, where a store's
                              answer says it anyway */
    CVM_OUT_ADOPTED = 3, /**< create_thing: 1 if another system had made the device's */
    CVM_OUT_NUMBER_COUNT = 4
};

/** Texts that an operation answers beside records. */
typedef int32_t cvm_out_t;
enum {
    CVM_OUT_ENDPOINT = 0, /**< prepare: what the device connects to */
    CVM_OUT_ROOT_CA = 1,  /**< prepare: trust anchors for the endpoint, PEM */
    CVM_OUT_CHAIN = 2,    /**< prepare: issuing chain of the certificate, without the root, PEM;
                               create_certificate: likewise, if it is another one by now */
    CVM_OUT_VALUE = 3,    /**< meta_get: the value; find: a device_uid */
    CVM_OUT_CURSOR = 4,   /**< scan: where the next page begins; none on the last page */
    CVM_OUT_COUNT = 5
};

typedef int32_t cvm_level_t;
enum { CVM_LEVEL_ERROR = 0, CVM_LEVEL_WARNING = 1, CVM_LEVEL_INFO = 2, CVM_LEVEL_DEBUG = 3 };

/** What the operator watches; times are seconds since 1970. */
typedef int32_t cvm_gauge_t;
enum {
    CVM_GAUGE_CA_EXPIRY = 0,          /**< label: which CA */
    CVM_GAUGE_CRL_NEXT_UPDATE = 1,    /**< no label */
    CVM_GAUGE_CRL_UNSIGNED_ROWS = 2,  /**< label: the issuer's key id; a count, not a time */
    CVM_GAUGE_CERTIFICATE_EXPIRY = 3, /**< label: the file of a server's certificate */
    CVM_GAUGE_CRL_NUMBER = 4,         /**< label: the issuer's key id; a number, not a time */
    CVM_GAUGE_CRL_MADE = 5            /**< label: the issuer's key id */
};

/* --- Stores ----------------------------------------------------------------------------------- */

/* What a store is, in its flags, beside CVM_LOCATION_IS_PATH. */
/** Several servers may work with it at once. On a platform with OUTSIDE_EFFECTS one of them at a
 * time looks for what is due then, by a value in this store ("reconciler"). */
#define CVM_STORE_SHARED 1u
/** Keys are one device's. A swap that gives a device a public_key_sha256 anew, or certifies it
 * again, answers KEY_IN_USE if another device has that key, or has (as long as it is there) a
 * current or retiring certificate for it; and, whoever asks, if a certificate for it retires or was
 * revoked for keyCompromise and has not ended. A load: if another device has it. Without this flag
 * the host warns when it starts: nobody refuses a CSR whose key another device has. */
#define CVM_STORE_UNIQUE_KEYS 2u
/** It keeps fields that it was not built to know, by their names. */
#define CVM_STORE_EXTRA_FIELDS 4u
/** While there is a value named CVM_FROZEN, swap, remove, load, ready, and meta_put of any other
 * name answer UNAVAILABLE: what has not been written by the time that one is put never is. The last
 * part of a copy of the store is made then. */
#define CVM_STORE_FREEZES 32u
#define CVM_FROZEN        "frozen"
#define CVM_FROZEN_TEXT   "the store is frozen: it is being moved, or was"
/** Scans for REVOKED and SUSPENDED may miss what was written before they began: a platform that
 *  NEEDS_SCANS (`local`, for its CRL) is refused. */
#define CVM_STORE_SCANS_LAG 16u

/** What scan() goes through, in an order of the store's own. */
typedef int32_t cvm_scan_t;
enum {
    CVM_SCAN_DEVICES = 0,      /**< all devices */
    CVM_SCAN_DUE = 1,          /**< retiring certificates with revoke_after <= before_ms */
    CVM_SCAN_UNSUSPENDED = 2,  /**< devices with is_suspended == is_enabled and a certificate_id */
    CVM_SCAN_ENDED_LEASES = 3, /**< devices with a lease_owner or a lease_certificate_id, and
                                    lease_until <= before_ms */
    CVM_SCAN_REVOKED = 4,      /**< revoked and due certificates with not_after > before_ms */
    CVM_SCAN_SUSPENDED = 5,    /**< current and retiring certificates of disabled devices, with
                                    not_after > before_ms */
    CVM_SCAN_CERTIFICATES =
        6,            /**< all certificates, with their PEM, those of removed devices too */
    CVM_SCAN_META = 7 /**< the names and versions of all values: CVM_RECORD_VALUE */
};

/* What an instance is to its store and platform. cvm_start_command() is none of these: it comes by
 * for a verb or two, perhaps beside a server. */
/** It brings the store up to date, and makes one that is missing if the property store.create says
 *  so; else what is there is taken as it is. */
#define CVM_OPEN_UPDATE 1u
/** Where only one server can work with the store, it is that one. */
#define CVM_OPEN_ALONE 2u
/** It sees to what is due, and to what has to be published. */
#define CVM_OPEN_RECONCILE 4u
/** All of these: cvm_start(). */
#define CVM_OPEN_SERVER (CVM_OPEN_UPDATE | CVM_OPEN_ALONE | CVM_OPEN_RECONCILE)

/** migrate(): only says what it would do. */
#define CVM_MIGRATE_PRINT 1u

#define CVM_CURSOR_SIZE 260

/** What load() did with a device. */
typedef int32_t cvm_load_t;
enum {
    CVM_LOAD_NONE = 0,
    CVM_LOAD_INSERTED = 1,
    CVM_LOAD_UNCHANGED = 2, /**< it is there already, with the same token */
    CVM_LOAD_CONFLICT = 3,  /**< it is there already, with another token, which was kept */
    CVM_LOAD_REPLACED = 4   /**< likewise, and its token was replaced */
};
/** load(): existing rows get the new token. */
#define CVM_LOAD_REPLACE_TOKENS 1u

/** What load() inserts. */
typedef struct cvm_loading_s {
    uint32_t size, flags; /**< CVM_LOAD_REPLACE_TOKENS */
    /** Whole records. A revision that one has is kept; without one it is random. Of several of one
     *  device the first is inserted, and the last one's token replaces. */
    cvm_record_t *const *devices;
    uint32_t count, certificate_count;
    /** Of any devices; one that is there already stays as it is. */
    const cvm_record_t *const *certificates;
    uint8_t *rows; /**< receives what was done with device i, a cvm_load_t, also when it fails
                        half-way; may be NULL without devices, as they may */
} cvm_loading_t;

/** What find() goes by. */
typedef int32_t cvm_find_by_t;
enum {
    CVM_FIND_CERTIFICATE = 1, /**< a certificate_id */
    CVM_FIND_THING = 2,       /**< a thing_name */
    CVM_FIND_KEY = 3          /**< a public_key_sha256 */
};

/** The largest value of meta_put, and its longest name, in bytes. */
#define CVM_LARGEST_VALUE 262144
#define CVM_LONGEST_NAME  128

/** One device's records, written as one change. */
typedef struct cvm_change_s {
    uint32_t size;
    uint32_t certificate_count;
    const cvm_record_t *as_read; /**< NULL: the device must not exist */
    const cvm_record_t *wanted;  /**< NULL (and as_read NULL): certificates only */
    /** Inserted, or updated by id, in this order: what leaves `current` comes first. A revoked one
     *  stays as it is, so does one whose row is another device's, and at most one of a device is
     *  current, also between two of them: that is the store's own rule too. Of a row that is there
     *  what the certificate is stays, such as its PEM; and a reason stays once it retires. */
    const cvm_record_t *const *certificates;
} cvm_change_t;

/* clang-format off */
/*
 * What the verbs of a store may answer beside OK, and what holds for all of them:
 *
 *   open                      UNAVAILABLE (it may be asked again), INVALID (configuration), CONFLICT
 *   ready                     UNAVAILABLE: asked of who writes; "read-only", "in recovery" and
 *                             "stopped" are no
 *   get, find, meta_get       NOT_FOUND, UNAVAILABLE, BUSY, BROKEN; find: INVALID (not by that)
 *   get_certificates, scan    UNAVAILABLE, BUSY, BROKEN; scan: INVALID (no such kind)
 *   swap, remove              CONFLICT (not as read), KEY_IN_USE, INVALID, UNAVAILABLE and BUSY
 *                             (nothing was written), UNKNOWN (it may have been; where the store can,
 *                             it finds out first), NOT_FOUND (certificates alone: all were so)
 *   load                      CONFLICT, KEY_IN_USE and INVALID (a row breaks the store's own rules),
 *                             UNAVAILABLE, BUSY, UNKNOWN
 *   meta_put                  CONFLICT (another version), INVALID, UNAVAILABLE, BUSY, UNKNOWN
 *   now                       UNAVAILABLE
 *   check                     UNAVAILABLE, BUSY, BROKEN
 *   migrate                   UNAVAILABLE, INVALID (configuration; what is there is a newer one's)
 *   backup                    CONFLICT (there is such a file), UNAVAILABLE, BUSY, BROKEN, INVALID
 *   close                     OK, after all that ran has been completed
 *
 * A revision is random when a row begins (or the one that load() was handed), and then exactly one
 * more with each write. A row that other writers made may have none, and reads as 0: it is compared
 * field by field with what was read. What leaves `current` comes first in a change; that a device
 * has one `current` certificate at most is the store's own rule too: a change that breaks it is a
 * CONFLICT. A CONFLICT or KEY_IN_USE of one operation never fails another.
 *
 * A row that is of a scan's kind before and after a change is answered at least once, as it was
 * written last; what changes otherwise meanwhile may be missed. Scans come in any order. Text
 * compares as bytes.
 */
/* clang-format on */

/** A flag of stores and platforms: the location is a path, and a relative one counts from the
 *  configuration's file. */
#define CVM_LOCATION_IS_PATH 8u

typedef struct cvm_store_ops_s {
    uint32_t size;
    uint32_t flags; /**< CVM_STORE_..., CVM_LOCATION_IS_PATH */
    /** CVM_DEVICE_FIELD_COUNT and CVM_CERTIFICATE_FIELD_COUNT: a store that knows fewer fields than
     *  the host would lose the others, and is refused, unless it has EXTRA_FIELDS. One that knows
     *  more works with an older host: it asks it by field_count(). */
    uint32_t device_fields, certificate_fields;
    /** Makes what location names (the property's text behind the first ":", "" without one),
     * without waiting for anything: that is open()'s. @param user_data what it was registered with
     *  @param error one line on failure @return OK and *store, or INVALID
     *  with nothing left behind */
    cvm_answer_t (*create)(const cvm_host_t *host, cvm_context_t *context, void *user_data,
        const char *location, void **store, char *error, size_t error_size);
    /** CONFLICT: only one server can work with it, and another one does. After a failure it may be
     *  called again. how: CVM_OPEN_... */
    void (*open)(void *store, cvm_op_t *op, uint32_t how);
    /** OK if a write could succeed now. */
    void (*ready)(void *store, cvm_op_t *op);
    /** Answers the device. */
    void (*get)(void *store, cvm_op_t *op, const char *device_uid);
    /** Compare and swap; durable when it completes. The store sets the new revision. */
    void (*swap)(void *store, cvm_op_t *op, const cvm_change_t *change);
    /** Answers one device's certificates: first those that are not revoked, the newest first. */
    void (*get_certificates)(void *store, cvm_op_t *op, const char *device_uid, uint32_t limit);
    /** Answers at most limit records, certificates without their PEM, and CURSOR (shorter than
     * CVM_CURSOR_SIZE, and another one than was asked with) if there may be more. cursor: "" for
     * the first page. */
    void (*scan)(void *store, cvm_op_t *op, cvm_scan_t what, const char *cursor, int64_t before_ms,
        uint32_t limit);
    /** Inserts records, durable when it completes, in one change where the store can. */
    void (*load)(void *store, cvm_op_t *op, const cvm_loading_t *loading);
    /** Answers VALUE and VERSION, which is not 0 and another one after each write; and, there being
     * a value or not, NOW_MS where that costs nothing. */
    void (*meta_get)(void *store, cvm_op_t *op, const char *name);
    /** Writes a small named value, if its version is the one that was read; answers the new
     * VERSION. version 0: it must not exist. wanted NULL: it is removed. Durable. */
    void (*meta_put)(
        void *store, cvm_op_t *op, const char *name, int64_t version, const char *wanted);
    /** Deletes change->as_read if it still is as read, and writes the certificates; durable. wanted
     * is NULL. */
    void (*remove)(void *store, cvm_op_t *op, const cvm_change_t *change);
    /** Answers VALUE, the device_uid that has it or had it: certificates that are revoked, and
     * those of removed devices, lead to it too. It is a hint, which may be stale: the host reads
     * the record and compares. May be NULL. */
    void (*find)(void *store, cvm_op_t *op, cvm_find_by_t by, const char *value);
    /** Answers NOW_MS, the store's own clock: where several servers share it, leases and what is
     * due go by that. May be NULL. */
    void (*now)(void *store, cvm_op_t *op);
    /** Writes a consistent copy to a new file, while others write. May be NULL. */
    void (*backup)(void *store, cvm_op_t *op, const char *path);
    /** Ends what runs, closes, completes op. It may come without an open(), and while one runs. The
     *  host calls destroy() after that. */
    void (*close)(void *store, cvm_op_t *op);
    /** After close, in whichever thread frees the instance. */
    void (*destroy)(void *store);
    /** Makes what the store consists of (tables, say), or brings it up to this release, without an
     * open(). With CVM_MIGRATE_PRINT it changes nothing. Answers VALUE: lines about what it did, or
     * the statements that it would run. May be NULL: open() does all that there is to do. */
    void (*migrate)(void *store, cvm_op_t *op, uint32_t how);
    /** Looks for rows that don't go together, a page at a time, while others write; changes
     * nothing. Answers VALUE, a line for each that it found, and CURSOR as a scan does. May be
     * NULL. */
    void (*check)(void *store, cvm_op_t *op, const char *cursor);
} cvm_store_ops_t;

/* --- Platforms -------------------------------------------------------------------------------- */

/** The platform's steps have effects outside the store: take a lease and record before activating.
 */
#define CVM_PLATFORM_OUTSIDE_EFFECTS 1u
/** The thing's name becomes a CN: at most 64 bytes (RFC 5280, ub-common-name). */
#define CVM_PLATFORM_NAME_IS_CN 2u
/** What it publishes comes of scans: it takes no store whose SCANS_LAG. */
#define CVM_PLATFORM_NEEDS_SCANS 4u

/* clang-format off */
/*
 * What the verbs of a platform may answer beside OK:
 *
 *   open, ready, reload       UNAVAILABLE (it may be asked again), INVALID (configuration)
 *   prepare                   BUSY and UNAVAILABLE, with RETRY_AFTER_S; BROKEN
 *   the steps                 UNAVAILABLE (nothing was done), INVALID (and never will be), UNKNOWN
 *                             and BROKEN (it may have been done), NOT_FOUND (what it works with is
 *                             not there: the host reads the record; if somebody else has taken the
 *                             lease over, that is why)
 *   the undoes, revoke,       the same; NOT_FOUND counts as done: nothing is accepted any more
 *   suspend
 *   find_certificates         NOT_FOUND (no such thing), UNAVAILABLE, BUSY, BROKEN
 *   find_by_key               NOT_FOUND (there is none), UNAVAILABLE, BUSY, BROKEN
 *   find_lost                 UNAVAILABLE, INVALID, UNKNOWN
 *   close                     OK, after all that ran has been completed
 */
/* clang-format on */

/** A step of the flow, or its undo. certificate is NULL before there is one. Steps and undoes are
 *  idempotent: they may be asked for again after an unknown outcome. */
typedef void (*cvm_step_fn)(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);

typedef struct cvm_platform_ops_s {
    uint32_t size;
    uint32_t flags;
    /** As a store's. */
    cvm_answer_t (*create)(const cvm_host_t *host, cvm_context_t *context, void *user_data,
        const char *location, void **platform, char *error, size_t error_size);
    void (*open)(void *platform, cvm_op_t *op, uint32_t how);
    /** Answers ENDPOINT, ROOT_CA and CHAIN (for certificate, or for a new one); BUSY when over
     * quota. */
    cvm_step_fn prepare;
    /** Answers a certificate record for host->op_public_key() (or host->op_csr()): PEM is needed;
     *  the host reads id, serial and times from it if they aren't set. */
    cvm_step_fn create_certificate;
    /* From here on to suspend each may be NULL: there is nothing to do then. With OUTSIDE_EFFECTS
     * delete_certificate, activate, deactivate and revoke are needed. */
    cvm_step_fn delete_certificate;
    cvm_step_fn attach_policy;
    cvm_step_fn detach_policy;
    /** OK with ADOPTED for a thing that another system made for this device: what
     *  find_certificates then answers is superseded. INVALID for one that is somebody else's, which
     *  the thing of a device with a REGISTERED_ON is not: it was the device's then. */
    cvm_step_fn create_thing;
    cvm_step_fn attach_certificate;
    cvm_step_fn detach_certificate;
    cvm_step_fn activate;
    cvm_step_fn deactivate;
    /** Carries out a revocation; the record says retiring and due. Nothing is accepted after OK,
     *  also not after an activate() that comes late.
     *  device is NULL: it may be gone. */
    cvm_step_fn revoke;
    /** Suspends or resumes a device's certificates, as device's is_enabled says. certificate is
     *  NULL. */
    cvm_step_fn suspend;
    /** Answers all certificates that hang on the device's thing, also those that others made:
     *  CERTIFICATE_ID, PEM and STATE (current if it is accepted, revoked, else pending). It is
     *  asked of a device that was registered by another system, and has no rows; and of each that
     *  has a thing by cvm_find_unknown(). One that hangs on several things belongs to the device
     *  that has its row: the host asks the store's find. Of more than 64 that are not revoked a
     *  registration fails, and so does a verb. certificate is NULL. May be NULL. */
    cvm_step_fn find_certificates;
    /** Answers the certificate for certificate's PUBLIC_KEY_SHA256 that was made for this device
     * and isn't active, the newest of several; or NOT_FOUND. It is asked when nobody knows whether
     *  create_certificate has made one; that was after certificate's NOT_BEFORE. May be NULL. */
    cvm_step_fn find_by_key;
    /** Certificates and other files were changed by others: read them again. May be NULL. */
    void (*reload)(void *platform, cvm_op_t *op);
    /** Looks again at all that it tells host->health() of; OK once that is told, UNAVAILABLE if it
     *  can't look. May be NULL. */
    void (*ready)(void *platform, cvm_op_t *op);
    void (*close)(void *platform, cvm_op_t *op);
    void (*destroy)(void *platform);
    /** Deletes certificates that nobody recorded and that find_by_key did not come as far as; by
     *  cvm_find_unknown(), in pieces: it is asked again while it answers a CURSOR. May be NULL. */
    void (*find_lost)(void *platform, cvm_op_t *op);
} cvm_platform_ops_t;

/* --- Properties of a plugin's own ------------------------------------------------------------- */

typedef int32_t cvm_property_type_t;
enum {
    CVM_TYPE_TEXT = 0,
    CVM_TYPE_PATH = 1, /**< a relative one counts from the configuration's file */
    CVM_TYPE_BOOL = 2,
    CVM_TYPE_COUNT = 3,    /**< with k, M and G */
    CVM_TYPE_DURATION = 4, /**< its number is milliseconds */
    CVM_TYPE_RATE = 5,     /**< its number is per minute */
    CVM_TYPE_CHOICE = 6    /**< its number is the choice's index */
};

/** A text that nobody is shown; beside it stands the path NAME_file (which must be free too), of a
 * file that holds it. */
#define CVM_PROPERTY_SECRET 1u
/** A change counts once the instance is made anew. */
#define CVM_PROPERTY_NEEDS_RESTART 2u

typedef struct cvm_property_row_s {
    uint32_t size, flags;
    const char *name; /**< lower case; begins with a word and a dot that are none of the library's,
                           such as the backend's name */
    cvm_property_type_t type;
    const char *default_text; /**< in the form that a file has */
    const char *range;        /**< of numbers "1s to 5min", of a choice "a|b", else NULL */
    const char *help;         /**< a sentence */
} cvm_property_row_t;

/* --- The host --------------------------------------------------------------------------------- */

/** What a watched descriptor is. */
#define CVM_READABLE 1u
#define CVM_WRITABLE 2u

/** Called on the loop when a verb that a platform asked of the store is done. */
typedef void (*cvm_host_done_fn)(void *argument, cvm_op_t *op, cvm_answer_t answer);

struct cvm_host_s {
    uint32_t size;

    /* By a plugin's entry function, while it runs. Each answers 0, or -1 and why: a name that is
     * taken, or that no property could hold; a table that doesn't fit; no memory. An entry function
     * that gives up, by not returning 0, leaves nothing behind. */
    /** Makes a backend known by its name (1 to 31 of a-z 0-9 -). The table stays the plugin's, and
     *  has to outlive every instance; user_data is handed to its create(). */
    int32_t (*add_store)(cvm_registry_t *registry, const char *name, const cvm_store_ops_t *ops,
        void *user_data, char *error, size_t error_size);
    int32_t (*add_platform)(cvm_registry_t *registry, const char *name,
        const cvm_platform_ops_t *ops, void *user_data, char *error, size_t error_size);
    /** Makes a property of the plugin's own known. The row is copied. */
    int32_t (*add_property)(
        cvm_registry_t *registry, const cvm_property_row_t *row, char *error, size_t error_size);
    /** What a property of the library's is, if nobody sets it, with that store or platform. */
    int32_t (*add_default)(cvm_registry_t *registry, const char *backend, const char *property,
        const char *value, char *error, size_t error_size);

    /* Any thread. */
    void (*log)(cvm_context_t *context, cvm_level_t level, const char *text);
    /** A property's text; NULL for an unknown name. */
    const char *(*property)(cvm_context_t *context, const char *name);
    /** A property as a number: milliseconds, bytes, count, or 0 and 1. */
    int64_t (*property_number)(cvm_context_t *context, const char *name);
    /** What a secret of the plugin's own is: its property's value, or what stands in the file that
     *  NAME_file names (UTF-8, one line, whose end is no part of it), which is read now: it may
     *  block. Wiped by the caller.
     *  @param to    receives it, ended by NUL
     *  @param size  bytes at to, the NUL among them; 1 at least
     *  @return its length, 0 if neither is set; or -1 and why */
    int32_t (*secret)(cvm_context_t *context, const char *name, char *to, size_t size, char *error,
        size_t error_size);
    void (*gauge)(cvm_context_t *context, cvm_gauge_t gauge, const char *label, int64_t value);
    /** Adds to a counter of the plugin's own, "cvm_COUNTER" among the metrics.
     *  @param counter  a word (a-z 0-9 _), such as "postgresql_reconnects_total"
     *  @param labels   at most three words, always the same and as many; values are few: never a
     *                  device's, and of a text from elsewhere only what is expected
     *  @return 0; -1 for a name that can't be, other labels than before, or too many counters */
    int32_t (*count)(cvm_context_t *context, const char *counter, const char *const *labels,
        const char *const *values, uint32_t label_count, uint64_t by);
    /** The wall clock of the instance, milliseconds since 1970: what leases, and all that is due,
     * go by. */
    int64_t (*now_ms)(cvm_context_t *context);
    /** A store has a new connection, perhaps to another server: its clock is asked for anew. */
    void (*reconnected)(cvm_context_t *context);
    /** Has function(argument) called on the loop, later. 0, or -1 without memory, or when the
     *  instance has ended. */
    int32_t (*post)(cvm_context_t *context, void (*function)(void *argument), void *argument);
    /** How many fields a kind of record has; for each its name (NULL past the end), its kind of
     *  value, and its longest text in bytes: a store can keep fields that it was not built to know.
     */
    uint32_t (*field_count)(cvm_record_kind_t kind);
    const char *(*field_name)(cvm_record_kind_t kind, uint32_t field);
    cvm_field_kind_t (*field_kind)(cvm_record_kind_t kind, uint32_t field);
    uint32_t (*field_longest)(cvm_record_kind_t kind, uint32_t field);
    /** On the loop. A platform tells its issuing CA's life, milliseconds since 1970: on a clock
     *  outside it nothing is issued or carried out. */
    void (*clock_bound)(cvm_context_t *context, int64_t begins_ms, int64_t ends_ms);
    /** On the loop. Tells of something that registrations, or the devices' connections after them,
     *  depend on: what is wrong with it, or NULL and when it begins and ends (milliseconds since
     * 1970, 0 for never). Nobody is told "ready" while a subject has a problem, or lies outside its
     * time; from notice_ms before its end the log warns. Texts are copied. A subject stays known:
     * what no longer counts is told without a problem, and with 0 for its end. Not before open. */
    void (*health)(cvm_context_t *context, const char *subject, const char *problem,
        int64_t begins_ms, int64_t ends_ms, int64_t notice_ms);
    /** Any thread. Serves a document to everybody who asks for its path, which begins with "/ca/"
     * and has at most 127 bytes: what a broker or a device fetches, such as a CRL. bytes, which are
     * copied, are NULL for one that is served no more. 0, or -1: another path, no memory, or more
     * than 128. */
    int32_t (*document)(cvm_context_t *context, const char *path, const char *media_type,
        const void *bytes, size_t length);
    /** On the loop. NULL if the clock may be acted on, or why not: then nothing is to be signed or
     *  published. Until the next call. */
    const char *(*clock_doubt)(cvm_context_t *context);
    cvm_record_t *(*record_new)(cvm_record_kind_t kind);
    cvm_record_t *(*record_copy)(const cvm_record_t *record);
    void (*record_free)(cvm_record_t *record);
    const char *(*text)(const cvm_record_t *record, uint32_t field);
    int64_t (*number)(const cvm_record_t *record, uint32_t field);
    /** 0, or -1 when it is too long, of the wrong kind, or memory is short. NULL reads as "". */
    int32_t (*set_text)(cvm_record_t *record, uint32_t field, const char *value);
    int32_t (*set_number)(cvm_record_t *record, uint32_t field, int64_t value);

    /* By whoever works on the operation, before it completes. */
    /** Answers a record, which is the host's from now on, also on failure. 0, or -1 without memory.
     */
    int32_t (*op_add_record)(cvm_op_t *op, cvm_record_t *record);
    int32_t (*op_set_text)(cvm_op_t *op, cvm_out_t out, const char *value);
    /** 0, or -1 for one that is not known. */
    int32_t (*op_set_number)(cvm_op_t *op, cvm_out_number_t out, int64_t value);
    /** Milliseconds until the caller is told that the outcome is not known, 0 at least; -1 if
     * nobody waits: it was told already, or this is an undo, something that is due, or an
     * operator's. It is for admission and for waiting, never alone an operation's deadline. */
    int64_t (*op_left_ms)(const cvm_op_t *op);
    /** The public key to certify: SubjectPublicKeyInfo, DER. NULL outside create_certificate. */
    const uint8_t *(*op_public_key)(cvm_op_t *op, size_t *length);
    /** A CSR for that key, PEM; made for the occasion if the device sent none. NULL without memory.
     */
    const char *(*op_csr)(cvm_op_t *op);
    /** Completes the operation. text: one line for people, or NULL. Any thread, once. */
    void (*complete)(cvm_op_t *op, cvm_answer_t answer, const char *text);

    /* On the loop. */
    /** Runs work(argument) in a thread, then done(argument) on the loop. 0, or -1 without memory.
     *  There are two threads for all of an instance's backends: for what is short and rare. */
    int32_t (*run)(cvm_context_t *context, void (*work)(void *argument),
        void (*done)(void *argument), void *argument);
    /* Watches and timers work until `close` has completed, also while the instance stops, which
     * does not wait for them. What is left then is freed by
     * the host, and must not be touched any more, in destroy() neither. */
    /** Watches a descriptor, for nothing yet; it is the plugin's, and has one watch at most.
     *  happened: CVM_READABLE, CVM_WRITABLE or both; an error counts as whatever was asked for.
     *  @return NULL without memory, or if the descriptor can't be watched */
    cvm_watch_t *(*watch_new)(cvm_context_t *context, int32_t fd,
        void (*happened)(void *argument, uint32_t events), void *argument);
    /** What to watch for; 0 for nothing. */
    void (*watch_set)(cvm_watch_t *watch, uint32_t events);
    /** Its function is not called again; the descriptor may be closed at once. NULL is fine. */
    void (*watch_free)(cvm_watch_t *watch);
    /** NULL without memory. */
    cvm_timer_t *(*timer_new)(
        cvm_context_t *context, void (*expired)(void *argument), void *argument);
    /** Starts it anew, once, delay_ms from now. */
    void (*timer_start)(cvm_timer_t *timer, int64_t delay_ms);
    void (*timer_stop)(cvm_timer_t *timer);
    /** Its function is not called again. NULL is fine. */
    void (*timer_free)(cvm_timer_t *timer);
    /** A platform's view of the store: each calls done once, and copies its texts. 0, or -1 without
     * memory. */
    int32_t (*store_scan)(cvm_context_t *context, cvm_scan_t what, const char *cursor,
        int64_t before_ms, uint32_t limit, cvm_host_done_fn done, void *argument);
    int32_t (*store_get_certificates)(cvm_context_t *context, const char *device_uid,
        uint32_t limit, cvm_host_done_fn done, void *argument);
    int32_t (*store_meta_get)(
        cvm_context_t *context, const char *name, cvm_host_done_fn done, void *argument);
    int32_t (*store_meta_put)(cvm_context_t *context, const char *name, int64_t version,
        const char *wanted, cvm_host_done_fn done, void *argument);
    /** What a store's verb answered: record i (NULL past the end), or a text. */
    const cvm_record_t *(*op_record)(const cvm_op_t *op, uint32_t i);
    const char *(*op_text)(const cvm_op_t *op, cvm_out_t out);
    int64_t (*op_number)(const cvm_op_t *op, cvm_out_number_t out);
    /** As a store's find(), which the store may not have: INVALID. */
    int32_t (*store_find)(cvm_context_t *context, cvm_find_by_t by, const char *value,
        cvm_host_done_fn done, void *argument);
};

/* --- Getting in ------------------------------------------------------------------------------- */

/** A plugin's entry function: makes known what it has. It is called once for each configuration
 * that it is added to, or each instance that loads it. 0, or -1: then the reason of the last
 * add_...() that failed is told. */
typedef int32_t (*cvm_plugin_fn)(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

/** Tables of another number don't fit; within one they grow. */
#define CVM_PLUGIN_VERSION 1u

/** What a shared object that the property `module` names exports as cvm_module. */
typedef struct cvm_module_s {
    uint32_t size, version;
    cvm_plugin_fn plugin;
} cvm_module_t;

/** Once in a module: exports its entry function. */
#define CVM_MODULE(function)                                                                       \
    extern __attribute__((visibility("default"))) const cvm_module_t cvm_module;                   \
    const cvm_module_t cvm_module = {sizeof(cvm_module_t), CVM_PLUGIN_VERSION, function}

#ifdef __cplusplus
}
#endif
#endif
