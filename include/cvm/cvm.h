/*
 * libcvm: a certificate vending machine for IoT fleets.
 *
 * All that applications and language bindings read: opaque types, plain functions, no variadic
 * functions, no struct layouts; enums cross as int32_t. Stores and platforms are written against
 * cvm/plugin.h instead.
 *
 * Threads: an instance (cvm_t) lives on one loop, and the thread that runs the loop is the one that
 * calls: from the first cvm_run() or cvm_process(), or from a borrowed loop's first turn, until it
 * has stopped. Before and after that it may be handed from thread to thread. cvm_post(),
 * cvm_metrics(), cvm_check_uid() and cvm_free() are for any thread; every other call that takes the
 * instance is refused from another thread as "wrong_thread". Other objects (a configuration, a
 * request, a batch) are used by one thread at a time. Different instances may live in different
 * threads. (Go: runtime.LockOSThread() for the goroutine that runs the loop.) The library's own
 * threads block all signals, and it handles none.
 *
 * Completion: an accepted call (it returned NULL) runs its callback exactly once, later, on the
 * loop, never inside the call that started it; also when it is cancelled, times out or the instance
 * stops. A refused call (it returned an error) never runs its callback.
 *
 * Callbacks may call whatever the thread may call, cvm_stop() and cvm_free() too, but not cvm_run()
 * and cvm_process(), which are running. No lock of the library's is held meanwhile. user_data is
 * handed through and never touched. No exception and no longjmp() may leave a callback.
 *
 * Ownership: a cvm_error_t that a function returns belongs to the caller (cvm_error_free). What a
 * callback is handed is borrowed until the callback returns. Strings that getters return live as
 * long as the object they were asked of is not changed or freed. What a call is handed is copied or
 * read before it returns, unless it says otherwise. A configuration and a request may be freed as
 * soon as they were used.
 *
 * Arguments: a NULL where something is needed is "invalid_argument"; a getter of NULL has nothing
 * to tell (NULL, 0, "", or what it says). Every text is UTF-8, ended by NUL, with no other NUL in
 * it.
 *
 * fork(): an instance belongs to the process that made it. In a child each call is refused as
 * "wrong_process", but for cvm_free(), which frees what it safely can and leaves alone what is the
 * parent's: descriptors, locks, what threads worked with; that leaks there, and handles stay on a
 * borrowed loop. A child that was forked in a callback must not return from it. A child that is to
 * have an instance of its own is forked before its parent starts one, as servers do that fork
 * first: a lock of SQLite's or OpenSSL's that a thread held at the fork stays taken in the child.
 * Others go on by exec, or end by _exit(). A file store that was open at the fork is refused there.
 *
 * exit(): OpenSSL frees what it works with, and a thread that is inside it would crash. The library
 * keeps, for the whole process, the count of threads that may be inside by it, those in cvm_run()
 * and cvm_process() too; a handler that the first cvm_new() registers by atexit() waits for them
 * (until a key is made, 5 s at most), and whoever would enter from then on never returns. What is
 * the program's: no thread inside another call (cvm_new(), cvm_token()) while one calls exit(), and
 * neither a call nor a wait for a thread that runs an instance in what comes behind that handler: a
 * handler that was registered before the first cvm_new(), a destructor. And a callback stays
 * callable until then: interpreters free theirs when they end, so a binding stops its instances
 * before, or keeps them.
 *
 * Files: descriptors 0 to 2 are open, if only on /dev/null, before the first cvm_new(): else one of
 * the library's gets their place. Nothing else in the process may open the files of the file store,
 * by another copy of SQLite neither: closing a descriptor of such a file drops the locks on it.
 * cvm_backup() makes a copy. Loops: cvm_new_on_uv() needs the very copy of libuv that the loop is
 * of. uvloop and Node bring copies of their own, so they drive an instance by cvm_fd(). A program
 * that exports another OpenSSL or libuv than the library was linked with (Node does) loads it by
 * dlopen() with RTLD_DEEPBIND.
 */
#ifndef CVM_CVM_H
#define CVM_CVM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef CVM_API
#define CVM_API __attribute__((visibility("default")))
#endif

/* The release that this header is of. Before 1.0 each MINOR has an ABI, and a SONAME, of its own.
 */
#define CVM_VERSION_MAJOR 0
#define CVM_VERSION_MINOR 1
#define CVM_VERSION_PATCH 0
/** As one number, which grows: 1002003 for 1.2.3. */
#define CVM_VERSION_NUMBER                                                                         \
    (CVM_VERSION_MAJOR * 1000000 + CVM_VERSION_MINOR * 1000 + CVM_VERSION_PATCH)

struct uv_loop_s;

typedef struct cvm_conf_s cvm_conf_t;
typedef struct cvm_s cvm_t;
typedef struct cvm_error_s cvm_error_t;
typedef struct cvm_request_s cvm_request_t;
typedef struct cvm_result_s cvm_result_t;
typedef struct cvm_device_s cvm_device_t;
typedef struct cvm_certificate_s cvm_certificate_t;
typedef struct cvm_batch_s cvm_batch_t;

/** The library's version, such as "0.1.0". Static. */
CVM_API const char *cvm_version(void);
/** CVM_VERSION_NUMBER of the library that was loaded: a binding compares its own with it. */
CVM_API int32_t cvm_version_number(void);
/** What is compiled in: "store file", "platform local", "transport http"; NULL past the end.
 * Static.
 */
CVM_API const char *cvm_backend(uint32_t i);

/* --- Errors ----------------------------------------------------------------------------------- */

/* Functions of the program's that have no result. */
/** Called with a line for people. */
typedef void (*cvm_warn_cb)(void *user_data, const char *text);
/** Called on the loop with what cvm_post() was handed. */
typedef void (*cvm_post_cb)(void *argument);

/** What a caller can do about an error. Each error also has a stable name that says more. */
typedef enum {
    CVM_CODE_OK = 0,            /**< no error */
    CVM_CODE_INVALID = 1,       /**< the input is wrong: mend it */
    CVM_CODE_DENIED = 2,        /**< the proof was not accepted */
    CVM_CODE_NOT_FOUND = 3,     /**< there is no such thing */
    CVM_CODE_CONFLICT = 4,      /**< the present state forbids it */
    CVM_CODE_BUSY = 5,          /**< too much at once: ask again after cvm_error_retry_after_s() */
    CVM_CODE_UNAVAILABLE = 6,   /**< a store, platform or file fails for now */
    CVM_CODE_UNKNOWN = 7,       /**< the outcome was not known in time: ask again */
    CVM_CODE_CONFIGURATION = 8, /**< a property or a file that it names is wrong */
    CVM_CODE_INTERNAL = 9       /**< out of memory, or a bug */
} cvm_code_t;

/** The error's code, a cvm_code_t; CVM_CODE_OK for NULL. */
CVM_API int32_t cvm_error_code(const cvm_error_t *error);
/**
 * The stable name; "ok" for NULL. Of registrations: invalid_request, unsupported_media_type,
 * too_large, uri_too_long, head_too_large, not_authorized, too_many_requests, invalid_csr,
 * already_registered, in_progress, overloaded, store_unavailable, platform_unavailable,
 * platform_error, unknown. Of the operator's verbs: no_such_device, device_exists,
 * device_registered, not_carried_out, conflict. Of any: configuration, unavailable, internal, and
 * of calls out of turn invalid_argument, wrong_process, wrong_thread, conflict. Others may follow:
 * go by the code where a name is not known.
 */
CVM_API const char *cvm_error_name(const cvm_error_t *error);
/** One line for people; never holds a token or a key. */
CVM_API const char *cvm_error_text(const cvm_error_t *error);
/** What it is about: the name of a property, or a file's path (of a long one its end); "" if it is
 * about neither. */
CVM_API const char *cvm_error_subject(const cvm_error_t *error);
/** The step of the flow where it happened, such as "verify"; "" outside the flow. */
CVM_API const char *cvm_error_step(const cvm_error_t *error);
/** 1 if the same call may succeed later, else 0. */
CVM_API int32_t cvm_error_retryable(const cvm_error_t *error);
/** Seconds to wait before the next try; 0 if the error names none. */
CVM_API uint32_t cvm_error_retry_after_s(const cvm_error_t *error);
/** Frees an error that a function returned. NULL is fine. */
CVM_API void cvm_error_free(cvm_error_t *error);

/**
 * Writes the JSON body that answers an error, for a service with a server of its own.
 * @param name        a stable name, such as "too_large"
 * @param message     one line, or NULL for the name's own text
 * @param request_id  the request's id, or NULL
 * @param body        where the text goes, ended by NUL; what does not fit is left out
 * @param size        bytes at body; 768 are enough for any message of the library's own
 * @return the HTTP status that goes with the name, 500 for an unknown name
 */
CVM_API int32_t cvm_error_render(
    const char *name, const char *message, const char *request_id, char *body, size_t size);

/* --- Configuration ---------------------------------------------------------------------------- */

/** A new configuration, all properties at their defaults; NULL when out of memory. */
CVM_API cvm_conf_t *cvm_conf_new(void);
CVM_API void cvm_conf_free(cvm_conf_t *conf);
/** Sets one property by its text form ("15s", "10M", "60/min"). Paths are relative to the working
 *  folder. What may be a property of a plugin that is not known yet (its first word and a dot are
 *  nobody's) is kept: if none comes that has it, cvm_new() says so. Errors: "configuration" names
 * the property and what it takes. */
CVM_API cvm_error_t *cvm_conf_set(cvm_conf_t *conf, const char *name, const char *value);
/** A property's text as set, or its default; NULL for an unknown name. */
CVM_API const char *cvm_conf_get(const cvm_conf_t *conf, const char *name);
/** A property as a number: milliseconds, a count, a rate by the minute, 0 and 1, or a choice's
 * index. 0 for a property without one, and for an unknown name. */
CVM_API int64_t cvm_conf_number(const cvm_conf_t *conf, const char *name);
/** Reads "name = value" lines; paths in it are relative to the file. Errors name file and line. */
CVM_API cvm_error_t *cvm_conf_load(cvm_conf_t *conf, const char *path);
/** Reads CVM_* variables (CVM_HTTP_LISTEN sets http.listen).
 *  @param warn  called for each CVM_* variable that names no property, or NULL; where `module` is
 *               set, cvm_new() tells it in the log instead, once the modules are loaded */
CVM_API cvm_error_t *cvm_conf_load_environment(cvm_conf_t *conf, cvm_warn_cb warn, void *user_data);

/** How grave a line of the log is. */
typedef enum {
    CVM_LOG_ERROR = 0,
    CVM_LOG_WARNING = 1,
    CVM_LOG_INFO = 2,
    CVM_LOG_DEBUG = 3
} cvm_log_level_t;

/** Called with each line, without its end. With log.deliver = thread from any thread, also from
 *  several at once and inside calls; what it takes, the thread waits for, and it must not call the
 *  library. With log.deliver = loop on the loop, one at a time; it may call what a callback may,
 * and lines that it is too slow for are dropped and counted.
 *  @param level  a cvm_log_level_t; of the audit always CVM_LOG_INFO */
typedef void (*cvm_log_cb)(void *user_data, int32_t level, const char *line);
/** Has the log go to a function instead of log.file; NULL undoes that. */
CVM_API cvm_error_t *cvm_conf_set_log(cvm_conf_t *conf, cvm_log_cb callback, void *user_data);
/** Likewise the audit, instead of audit.file. */
CVM_API cvm_error_t *cvm_conf_set_audit(cvm_conf_t *conf, cvm_log_cb callback, void *user_data);

struct cvm_host_s;
struct cvm_registry_s;
/** A plugin's entry function: cvm_plugin_fn of cvm/plugin.h. */
typedef int32_t (*cvm_plugin_cb)(
    const struct cvm_host_s *host, struct cvm_registry_s *registry, void *user_data);
/** Makes the stores and platforms of the program's own known by their names, and their properties.
 *  @param function   called before this returns, and never again; the tables that it hands over
 *                    outlive every instance that is made of conf
 *  @param user_data  handed to it
 *  Errors: "configuration", with the reason: the plugin's own, and then none of it is added; or
 * that one of its properties was set to what it does not take, and then it is added. "conflict"
 * inside of an entry function. */
CVM_API cvm_error_t *cvm_conf_add_plugin(cvm_conf_t *conf, cvm_plugin_cb function, void *user_data);
/** Loads the modules that the property `module` names, and checks what was set for them. cvm_new()
 *  does it by itself, with the copy that it makes: this is for who wants to look at their
 *  properties. Later changes of `module` don't count. */
CVM_API cvm_error_t *cvm_conf_load_modules(cvm_conf_t *conf);

/** How many properties there are: the library's own, and those of conf's plugins and loaded
 * modules, if it isn't NULL. */
CVM_API uint32_t cvm_property_count(const cvm_conf_t *conf);
/** The name of property i; NULL past the end. Likewise the rest. They live as long as conf. */
CVM_API const char *cvm_property_name(const cvm_conf_t *conf, uint32_t i);
CVM_API const char *cvm_property_type(const cvm_conf_t *conf, uint32_t i);
CVM_API const char *cvm_property_default(const cvm_conf_t *conf, uint32_t i);
CVM_API const char *cvm_property_range(const cvm_conf_t *conf, uint32_t i);
CVM_API const char *cvm_property_help(const cvm_conf_t *conf, uint32_t i);
/** 1 if a change counts only for an instance that is made anew: so it is with all of the library's.
 */
CVM_API int32_t cvm_property_needs_restart(const cvm_conf_t *conf, uint32_t i);
/** 1 if its value is a secret, which is not to be shown. */
CVM_API int32_t cvm_property_is_secret(const cvm_conf_t *conf, uint32_t i);

/* --- Instance --------------------------------------------------------------------------------- */

/** Called once when something that has no result of its own is done. error is NULL on success. */
typedef void (*cvm_done_cb)(void *user_data, const cvm_error_t *error);

/**
 * Makes an instance on a loop of its own: run it by cvm_run(), or from a foreign event loop by
 * cvm_fd(), cvm_timeout_ms() and cvm_process(). The configuration is copied.
 */
CVM_API cvm_error_t *cvm_new(const cvm_conf_t *conf, cvm_t **cvm);
/** The same on the caller's libuv loop, which must outlive the instance. When it fails, the loop
 * has to run once more before it can be closed. */
CVM_API cvm_error_t *cvm_new_on_uv(const cvm_conf_t *conf, struct uv_loop_s *loop, cvm_t **cvm);
/** Receives a text, or the error. */
typedef void (*cvm_text_cb)(void *user_data, const cvm_error_t *error, const char *text);
/** Tells how far a copy has come: count of what ("devices", "certificates", …). is_frozen: servers
 *  of the source write nothing any more. @return 1 to end the copy */
typedef int32_t (*cvm_copy_progress_cb)(
    void *user_data, const char *what, uint64_t count, int32_t is_frozen);
/**
 * Copies all devices, certificates and values from one instance's store into that of another, while
 * servers work with the first. Run again it goes on where it was, and copies what has changed.
 * Until it is finished no instance starts on the target. Both instances are of the same thread,
 * which runs both until the callback; neither is stopped or freed before that. They were not
 * started, and are for nothing else afterwards. Platforms are not touched.
 * @param finish    1: then freezes the source, so that its servers refuse registrations (503),
 * copies the rest, and compares both sides whole. The source stays frozen; if it fails, it is
 * thawed
 * @param progress  may be NULL
 * @param callback  its text says what was copied
 * @return refused: "conflict" if one was started, or the source can't be frozen
 */
CVM_API cvm_error_t *cvm_store_copy(cvm_t *from, cvm_t *to, int32_t finish,
    cvm_copy_progress_cb progress, cvm_text_cb callback, void *user_data);
/** Lets servers write to a store again that a copy has frozen: its target must not be in use.
 *  "not_found" if it is not frozen. */
CVM_API cvm_error_t *cvm_store_thaw(cvm_t *cvm, cvm_done_cb callback, void *user_data);
/**
 * Makes what a store consists of, such as its tables, or brings it up to this release: for stores
 * of which a server does not do so when it starts. On an instance that is not started; it may be
 * started after that.
 * @param print     1: changes nothing; the text has the statements that would be run
 * @param callback  its text says what was done
 * @return refused: "conflict" if the instance was started, or the store needs none of it
 */
CVM_API cvm_error_t *cvm_store_migrate(
    cvm_t *cvm, int32_t print, cvm_text_cb callback, void *user_data);
/**
 * Opens the store and the platform, to serve devices: brings the store up to date (and makes one
 * that is missing, if store.create is true), and from then on sees to what is due. Requests are
 * refused until the callback has said success; after a failure it may be called again. "conflict",
 * of CVM_CODE_BUSY: another server has the store, and it is one that only one can work with.
 */
CVM_API cvm_error_t *cvm_start(cvm_t *cvm, cvm_done_cb callback, void *user_data);
/** The same for a program that comes by for a call or two, perhaps beside a server: it takes the
 *  store as it is. Nothing happens by itself; verbs that wait for what is due carry it out. */
CVM_API cvm_error_t *cvm_start_command(cvm_t *cvm, cvm_done_cb callback, void *user_data);
/** Opens the configured listeners (http.listen, ops.listen). Call it after cvm_start succeeded.
 *  Their connections live in threads of the library's own. After an error there is none; those that
 *  were open already close a moment later. */
CVM_API cvm_error_t *cvm_listen(cvm_t *cvm);
/** Listener i as "https 127.0.0.1:8443", with the port really bound; NULL past the end. */
CVM_API const char *cvm_listener(const cvm_t *cvm, uint32_t i);
/** Reopens the log files, reads certificates again and has the platform renew what it publishes,
 *  such as the CRL (what SIGHUP means to a server). What can't be had stays as it was; the callback
 *  gets the first reason. */
CVM_API cvm_error_t *cvm_reload(cvm_t *cvm, cvm_done_cb callback, void *user_data);
/** Stops: listeners drain, what was accepted completes, store and platform close; then the callback
 *  (which may be NULL) runs. After request.deadline and 5 s the backends are told to close while
 *  they work; a stop then waits for them however long that takes, and says so in the log each 10 s:
 *  what works with the instance's memory can't be left behind. Connections end by their own
 *  timeouts. A second call is refused as "conflict". */
CVM_API cvm_error_t *cvm_stop(cvm_t *cvm, cvm_done_cb callback, void *user_data);
/** Calls back once nothing runs any more: no registration (those that nobody waits for go on until
 * they are recorded or undone), no pass, no operation of a backend. From then on until the next
 * call of the library the process may be frozen, as a Lambda is. Timers don't count: they begin
 * something anew. @return refused: "conflict" once it stops */
CVM_API cvm_error_t *cvm_settle(cvm_t *cvm, cvm_done_cb callback, void *user_data);
/** Frees an instance, which must not be used any more. One that still runs is stopped first. With a
 *  loop of its own that is done inside this call; called from a callback, it is done when the turn
 *  ends (cvm_run() and cvm_process() return when it is gone); called from another thread than the
 *  one that runs the instance, it is done by that one, in its next turn: never, if that thread has
 *  ended without a stop. On a caller's loop it is done as soon as that loop has run what is left.
 *  NULL is fine. */
CVM_API void cvm_free(cvm_t *cvm);

/** Runs the instance's own loop until cvm_stop() is complete. @return refused: "conflict" with
 * cvm_new_on_uv(), and from a callback */
CVM_API cvm_error_t *cvm_run(cvm_t *cvm);
/** For a foreign loop: a descriptor that is readable when there is work. -1 with cvm_new_on_uv(),
 * out of turn, and once it has stopped. */
CVM_API int32_t cvm_fd(const cvm_t *cvm);
/** For a foreign loop: milliseconds until cvm_process() is due whatever the descriptor says; -1 for
 *  never; -2 with cvm_new_on_uv() and out of turn. Ask again after each call to the library. */
CVM_API int32_t cvm_timeout_ms(cvm_t *cvm);
/** For a foreign loop: does what is due, without waiting (but see cvm_free()). @return refused:
 * "conflict" with cvm_new_on_uv(), and from a callback */
CVM_API cvm_error_t *cvm_process(cvm_t *cvm);
/** Runs function(argument) on the loop. From any thread, while the instance is not freed. @return
 * refused: "conflict" when it has stopped */
CVM_API cvm_error_t *cvm_post(cvm_t *cvm, cvm_post_cb function, void *argument);
/** 1 while requests are accepted: started, and not stopping. cvm_check() asks the store too. 0 out
 * of turn. */
CVM_API int32_t cvm_is_ready(const cvm_t *cvm);
/** Asks whether a registration would succeed, and the device could then connect: the store works,
 * it holds a device (asked until one was seen), the clock may be acted on, and of the certificates,
 * CRL and other files that the platform and the listeners depend on none is over, missing or
 * spoiled. The callback's error says why not: "store_unavailable", "platform_unavailable". */
CVM_API cvm_error_t *cvm_check(cvm_t *cvm, cvm_done_cb callback, void *user_data);
/** Whether the instance may act on its clock: it lies within the issuing CA's life, and not more
 * than a day before the latest time on record. While it may not, nothing is issued, published or
 * carried out. @return NULL, or "platform_unavailable" with the reason */
CVM_API cvm_error_t *cvm_check_clock(cvm_t *cvm);
/** Writes a consistent copy of the store to a new file while it is in use: the way for a program to
 *  back up the file store, whose files nothing else in the process may open. Made in a thread.
 *  @param path  copied; the callback's error is "conflict" if there is such a file, or none can be
 *               made there: another path may do
 *  @return refused: "overloaded" when not ready, "conflict" if the store has other means */
CVM_API cvm_error_t *cvm_backup(
    cvm_t *cvm, const char *path, cvm_done_cb callback, void *user_data);
/** The metrics in Prometheus' text form, as ops.listen serves them. Any thread.
 *  @param text  where they go, ended by NUL; what does not fit is left out
 *  @param size  bytes at text
 *  @return bytes of the whole text with its NUL: if that is more than size, call again; 0 without
 *          memory */
CVM_API size_t cvm_metrics(cvm_t *cvm, char *text, size_t size);

/* --- Registration ----------------------------------------------------------------------------- */

/** A new request; NULL when out of memory. It is copied where it is used. */
CVM_API cvm_request_t *cvm_request_new(void);
CVM_API void cvm_request_free(cvm_request_t *request);
/* The setters copy their text. Errors: "invalid_request" when it is too long, or no memory. What
 * the text may hold is checked when the request is used. */
/** The device's unique id: 1 to 128 of A-Z a-z 0-9 : _ -. */
CVM_API cvm_error_t *cvm_request_set_uid(cvm_request_t *request, const char *uid);
/** The registration token: 1 to 256 printable ASCII characters without ":". */
CVM_API cvm_error_t *cvm_request_set_token(cvm_request_t *request, const char *token);
/** A PKCS#10 request of length bytes, PEM or DER; without one, the server makes the key. */
CVM_API cvm_error_t *cvm_request_set_csr(cvm_request_t *request, const void *csr, size_t length);
/** Which formats the caller reads: an Accept field (RFC 9110 §12.5.1). cvm_handle() renders the
 * first of them that it knows, or else answers in the request's own. */
CVM_API cvm_error_t *cvm_request_set_accept(cvm_request_t *request, const char *accept);
/** The peer's address without port, as text: limits count by it, logs and audit name it. */
CVM_API cvm_error_t *cvm_request_set_peer(cvm_request_t *request, const char *address);
/** What the request came over, a metric's label: "http", "coap", "api" (the default). */
CVM_API cvm_error_t *cvm_request_set_transport(cvm_request_t *request, const char *transport);
/** An id for logs and answers; without one the library makes one. */
CVM_API cvm_error_t *cvm_request_set_id(cvm_request_t *request, const char *request_id);
/** Milliseconds until the caller is answered `unknown`; 0 for request.deadline. */
CVM_API cvm_error_t *cvm_request_set_deadline_ms(cvm_request_t *request, uint32_t deadline_ms);

/** Called once with what came of a request; the result is never NULL. */
typedef void (*cvm_result_cb)(void *user_data, const cvm_result_t *result);

/**
 * Registers a device.
 * @param request    uid and token are needed; copied
 * @param id         receives the call's id for cvm_cancel(), or NULL
 * @return refused: "overloaded" when not ready or too many are in flight, "internal" without memory
 */
CVM_API cvm_error_t *cvm_register(cvm_t *cvm, const cvm_request_t *request, cvm_result_cb callback,
    void *user_data, uint64_t *id);

/**
 * Registers a device from a payload as it came in, and renders the answer.
 * @param request     what the transport knows (peer, id, deadline), or NULL; the payload fills the
 *                    rest, and must not contradict what is set
 * @param media_type  the payload's: application/json, +json, text/..., application/octet-stream and
 *                    application/x-www-form-urlencoded, NULL and "" are read as JSON
 * @param bytes       the payload; read before the call returns
 */
CVM_API cvm_error_t *cvm_handle(cvm_t *cvm, const cvm_request_t *request, const char *media_type,
    const void *bytes, size_t length, cvm_result_cb callback, void *user_data, uint64_t *id);

/** Completes a call at once with "unknown". What already has effects runs on until it is recorded
 * or undone. An id that is done or was never given is ignored. */
CVM_API cvm_error_t *cvm_cancel(cvm_t *cvm, uint64_t id);

/** Why it failed; NULL if the device is registered. Borrowed. */
CVM_API const cvm_error_t *cvm_result_error(const cvm_result_t *result);
CVM_API const char *cvm_result_request_id(const cvm_result_t *result);
/* What a registered device gets; NULL where there is none. */
CVM_API const char *cvm_result_endpoint(const cvm_result_t *result);
CVM_API const char *cvm_result_thing_name(const cvm_result_t *result);
/** The device's certificate and its issuing chain without the root, PEM. */
CVM_API const char *cvm_result_device_certificate(const cvm_result_t *result);
/** The same apart: the certificate alone, and its issuing chain ("" if there is none). */
CVM_API const char *cvm_result_certificate(const cvm_result_t *result);
CVM_API const char *cvm_result_chain(const cvm_result_t *result);
/** The trust anchors for the endpoint, PEM. */
CVM_API const char *cvm_result_root_ca(const cvm_result_t *result);
CVM_API const char *cvm_result_certificate_id(const cvm_result_t *result);
/** The keys that were made here, PEM; NULL when the device sent a CSR. */
CVM_API const char *cvm_result_public_key(const cvm_result_t *result);
CVM_API const char *cvm_result_private_key(const cvm_result_t *result);
/** RFC 3339, UTC. */
CVM_API const char *cvm_result_server_time(const cvm_result_t *result);
/* The answer as rendered; only for cvm_handle(). */
/** The HTTP status to send (http.legacy_status is applied). */
CVM_API int32_t cvm_result_http_status(const cvm_result_t *result);
/** The media type of the body, such as "application/json". */
CVM_API const char *cvm_result_media_type(const cvm_result_t *result);
/** The body (NULL without memory), ended by NUL, and its length in bytes (length may be NULL). It
 * may hold a private key: wipe what you copy. */
CVM_API const char *cvm_result_body(const cvm_result_t *result, size_t *length);

/** Whether a uid can be registered here: its form, and the thing's name that it makes. Any thread.
 *  @return NULL, or "invalid_request" with the reason */
CVM_API cvm_error_t *cvm_check_uid(const cvm_t *cvm, const char *uid);

/** Computes a registration token from a shared secret.
 *  @param secret       the secret ("salt"), not ended by NUL
 *  @param uid,second   the ids; second may be NULL
 *  @param hmac         1: HMAC-SHA-256(secret, uid); 0: SHA-256(secret "//" uid ["+" second])
 *  @param token        receives 64 hex digits and a NUL */
CVM_API cvm_error_t *cvm_token(const void *secret, size_t secret_length, const char *uid,
    const char *second, int32_t hmac, char token[65]);

/* --- The operator's verbs --------------------------------------------------------------------- */

/** Called once with a device; NULL with an error. */
typedef void (*cvm_device_cb)(
    void *user_data, const cvm_error_t *error, const cvm_device_t *device);
/** Called once with a page of devices. cursor is where the next page begins; NULL at the end. */
typedef void (*cvm_devices_cb)(void *user_data, const cvm_error_t *error,
    const cvm_device_t *const *devices, uint32_t count, const char *cursor);
/** Called once when a batch is written. The batch is the caller's again. */
typedef void (*cvm_batch_cb)(void *user_data, const cvm_error_t *error, cvm_batch_t *batch);

/* Errors of all verbs: "no_such_device", "invalid_request", "store_unavailable", "conflict" when
 * others changed the device all the time; "not_carried_out" when the change is recorded, and a
 * server will have the platform carry it out. */
/** One device with its certificates. */
CVM_API cvm_error_t *cvm_device_get(
    cvm_t *cvm, const char *uid, cvm_device_cb callback, void *user_data);
/** What cvm_device_find() goes by. */
typedef enum {
    CVM_BY_CERTIFICATE_ID = 1, /**< hex SHA-256 of the certificate's DER, with or without colons */
    CVM_BY_THING_NAME = 2,
    CVM_BY_PUBLIC_KEY = 3 /**< hex SHA-256 of the key's SubjectPublicKeyInfo, likewise */
} cvm_find_t;
/** The device that has a certificate (one that is over or revoked too), a thing or a public key.
 *  @param by  a cvm_find_t
 *  Errors beside the usual: "conflict" if the store has no means to look for it; a device that was
 *  removed is "no_such_device", with its uid in the text. */
CVM_API cvm_error_t *cvm_device_find(
    cvm_t *cvm, int32_t by, const char *value, cvm_device_cb callback, void *user_data);
/** A page of devices in the store's order (the file store's is by uid).
 *  @param cursor  from the page before; NULL or "" for the first
 *  @param limit   1 to 1000 */
CVM_API cvm_error_t *cvm_device_list(
    cvm_t *cvm, const char *cursor, uint32_t limit, cvm_devices_cb callback, void *user_data);
/** Adds a device. The token is stored as a hash. Error "device_exists". */
CVM_API cvm_error_t *cvm_device_put(cvm_t *cvm, const char *uid, const char *token,
    int32_t is_enabled, cvm_done_cb callback, void *user_data);
/** Lets a device register and lifts the suspension of its certificates. */
CVM_API cvm_error_t *cvm_device_enable(
    cvm_t *cvm, const char *uid, cvm_done_cb callback, void *user_data);
/** No registration, certificates suspended until enabled. Completes when the platform has done it.
 */
CVM_API cvm_error_t *cvm_device_disable(
    cvm_t *cvm, const char *uid, cvm_done_cb callback, void *user_data);
/** Allows one new registration; the old certificate retires when the new one is recorded. */
CVM_API cvm_error_t *cvm_device_reset(
    cvm_t *cvm, const char *uid, cvm_done_cb callback, void *user_data);
/** Revokes the certificates now and disables the device. Completes when the platform has done it.
 *  @param reason  RFC 5280 §5.3.1's name, such as "keyCompromise"; NULL for "unspecified" */
CVM_API cvm_error_t *cvm_device_revoke(
    cvm_t *cvm, const char *uid, const char *reason, cvm_done_cb callback, void *user_data);
/** Removes a device. A registered one needs force; its certificates are revoked.
 *  Error "device_registered" without force. */
CVM_API cvm_error_t *cvm_device_remove(
    cvm_t *cvm, const char *uid, int32_t force, cvm_done_cb callback, void *user_data);
/** Carries out at once what the records say is due (retirement, suspension). */
CVM_API cvm_error_t *cvm_reconcile(cvm_t *cvm, cvm_done_cb callback, void *user_data);
/** The same for one device, also for one that was removed; whatever fails for others.
 *  Error "not_carried_out". */
CVM_API cvm_error_t *cvm_device_reconcile(
    cvm_t *cvm, const char *uid, cvm_done_cb callback, void *user_data);
/** Called once with how much is due: leases whose owners are gone, certificates to retire,
 * suspensions to put into effect. */
typedef void (*cvm_due_cb)(void *user_data, const cvm_error_t *error, uint64_t leases,
    uint64_t retirements, uint64_t suspensions);
/** Counts what cvm_reconcile() would carry out; changes nothing. */
CVM_API cvm_error_t *cvm_due(cvm_t *cvm, cvm_due_cb callback, void *user_data);
/** Called once with how many certificates were found. */
typedef void (*cvm_found_cb)(void *user_data, const cvm_error_t *error, uint64_t found);
/** Asks the platform of each device which certificates hang on its thing, and writes down those
 * that no row knows, since another system made them: from then on they are suspended and revoked
 * with their device. Carries out what devices' own records say of suspension, where they were
 * changed without the store's knowing; and deletes certificates that nobody recorded since it was
 * not known whether they had been made. It takes a call of the platform for each device that is, or
 * was, registered.
 *  @param dry_run  1: only counts them
 *  One that is cut short is gone on with by the next, whatever instance that is of.
 *  Errors: "conflict" where the store has them all (a local platform); the first of those that
 *  devices had, the others having been looked at all the same. */
CVM_API cvm_error_t *cvm_find_unknown(
    cvm_t *cvm, int32_t dry_run, cvm_found_cb callback, void *user_data);

/** What a store finds wrong with itself, a line. */
typedef void (*cvm_finding_cb)(void *user_data, const char *line);
/** Looks for rows of the store that don't go together, such as those of tables that were restored
 * to different times; changes nothing. It goes through all of the store.
 *  @param finding   called for each that is found
 *  @param callback  called once after that
 *  Errors: "conflict" where the store has nothing to look for in this way. */
CVM_API cvm_error_t *cvm_store_check(
    cvm_t *cvm, cvm_finding_cb finding, cvm_done_cb callback, void *user_data);

/** Who acts by this instance, for each line of the audit from now on: a user's name, its number,
 * and what he has called. Copied; NULL leaves one out. On the loop. */
CVM_API cvm_error_t *cvm_set_actor(
    cvm_t *cvm, const char *user, const char *user_id, const char *command);
/** Writes a line into the audit, for what the library can't know. On the loop.
 *  @param event  a word (a-z, 0-9, _; 40 at most), such as "devices_imported"
 *  @param names  the fields' names, words too; values are texts, of which NULL and "" are left out
 *  @param count  12 at most
 *  Error "invalid_request": what is no word, or too many. */
CVM_API cvm_error_t *cvm_audit_event(cvm_t *cvm, const char *event, const char *const *names,
    const char *const *values, uint32_t count);

/** From now on (1) the verbs complete once they are recorded, and cvm_reconcile() carries out all
 * of them together, such as by one CRL; 0 undoes that. For changing many devices. */
CVM_API cvm_error_t *cvm_set_deferred(cvm_t *cvm, int32_t is_deferred);

CVM_API const char *cvm_device_uid(const cvm_device_t *device);
CVM_API int32_t cvm_device_is_enabled(const cvm_device_t *device);
CVM_API int32_t cvm_device_is_registered(const cvm_device_t *device);
CVM_API int32_t cvm_device_is_revoked(const cvm_device_t *device);
/* NULL where the device has none. */
CVM_API const char *cvm_device_thing_name(const cvm_device_t *device);
CVM_API const char *cvm_device_registered_on(const cvm_device_t *device);
CVM_API const char *cvm_device_certificate_id(const cvm_device_t *device);
/** RFC 3339 end of the lease that a running registration holds; NULL without one. */
CVM_API const char *cvm_device_lease(const cvm_device_t *device);
/** Why certificates may be missing: another system has registered the device, and the platform
 * could not be asked with which. NULL if none is. Only from cvm_device_get() and cvm_device_find().
 */
CVM_API const char *cvm_device_gap(const cvm_device_t *device);
/** Certificate i, newest first; NULL past the end. Only from cvm_device_get() and
 * cvm_device_find(). */
CVM_API const cvm_certificate_t *cvm_device_certificate(const cvm_device_t *device, uint32_t i);
CVM_API const char *cvm_certificate_id(const cvm_certificate_t *certificate);
/** pending, current, retiring or revoked. */
CVM_API const char *cvm_certificate_state(const cvm_certificate_t *certificate);
CVM_API const char *cvm_certificate_serial(const cvm_certificate_t *certificate);
/* RFC 3339; revoke_after is NULL unless retiring, reason unless retiring or revoked. */
CVM_API const char *cvm_certificate_not_before(const cvm_certificate_t *certificate);
CVM_API const char *cvm_certificate_not_after(const cvm_certificate_t *certificate);
CVM_API const char *cvm_certificate_revoke_after(const cvm_certificate_t *certificate);
CVM_API const char *cvm_certificate_reason(const cvm_certificate_t *certificate);
CVM_API const char *cvm_certificate_pem(const cvm_certificate_t *certificate);

/* --- Import in batches ------------------------------------------------------------------------ */

/** What became of a row of a batch. */
typedef enum {
    CVM_ROW_NONE = 0, /**< it was not written */
    CVM_ROW_INSERTED = 1,
    CVM_ROW_UNCHANGED = 2, /**< the same token was there already */
    CVM_ROW_CONFLICT = 3,  /**< another token is there; it was kept */
    CVM_ROW_REPLACED = 4   /**< another token was there; it was replaced */
} cvm_row_t;

/** A batch for up to limit rows (1 to 10000); NULL when out of memory. */
CVM_API cvm_batch_t *cvm_batch_new(uint32_t limit);
/** One that is being written goes when that is done and the callback, which must not free it again,
 * has returned. NULL is fine. */
CVM_API void cvm_batch_free(cvm_batch_t *batch);
/** Adds a row. token_sha256 is 64 hex digits: a file of a million tokens is hashed by its reader.
 *  Errors: "invalid_request" (uid, hash, or the batch is full). */
CVM_API cvm_error_t *cvm_batch_add(
    cvm_batch_t *batch, const char *uid, const char *token_sha256, int32_t is_enabled);
CVM_API uint32_t cvm_batch_count(const cvm_batch_t *batch);
CVM_API const char *cvm_batch_uid(const cvm_batch_t *batch, uint32_t i);
/** After the callback: what became of row i, a cvm_row_t; -1 past the end. */
CVM_API int32_t cvm_batch_row(const cvm_batch_t *batch, uint32_t i);
/** Empties a batch to be filled again. */
CVM_API cvm_error_t *cvm_batch_clear(cvm_batch_t *batch);
/** 1: the batch is part of an import of many, for which the caller writes one line into the audit
 * by cvm_audit_event(); the library writes none for what this batch inserts. */
CVM_API cvm_error_t *cvm_batch_set_part(cvm_batch_t *batch, int32_t is_part);
/** Writes a batch, in one transaction where the store can. Until the callback it can't be changed
 *  ("conflict"); cvm_batch_row() tells what was written, also after an error but "unknown".
 *  @param replace_tokens  1: existing rows get the new token; their state stays in any case */
CVM_API cvm_error_t *cvm_import(
    cvm_t *cvm, cvm_batch_t *batch, int32_t replace_tokens, cvm_batch_cb callback, void *user_data);

#ifdef __cplusplus
}
#endif
#endif
