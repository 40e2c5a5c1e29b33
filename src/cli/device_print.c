/* Printing devices, for people and as JSON. */
#include "device_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cli.h"

/* --- JSON ------------------------------------------------------------------------------------- */

static cJSON *certificate_json(const cvm_certificate_t *certificate, int32_t pem)
{
    cJSON *object = cJSON_CreateObject();
    if (!object || cli_json_text(object, "certificate_id", cvm_certificate_id(certificate)) ||
        cli_json_text(object, "state", cvm_certificate_state(certificate)) ||
        cli_json_text(object, "serial", cvm_certificate_serial(certificate)) ||
        cli_json_text(object, "not_before", cvm_certificate_not_before(certificate)) ||
        cli_json_text(object, "not_after", cvm_certificate_not_after(certificate)) ||
        cli_json_text(object, "revoke_after", cvm_certificate_revoke_after(certificate)) ||
        cli_json_text(object, "reason", cvm_certificate_reason(certificate)) ||
        (pem && cli_json_text(object, "pem", cvm_certificate_pem(certificate)))) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

static int32_t add_certificates(cJSON *object, const cvm_device_t *device, int32_t pem)
{
    const cvm_certificate_t *certificate;
    cJSON *list = cJSON_AddArrayToObject(object, "certificates");
    for (uint32_t i = 0; list && (certificate = cvm_device_certificate(device, i)); i++)
        if (!cJSON_AddItemToArray(list, certificate_json(certificate, pem)))
            return -1;
    return list ? 0 : -1;
}

static cJSON *device_json(const cvm_device_t *device)
{
    cJSON *object = cJSON_CreateObject();
    if (!object || cli_json_text(object, "device_uid", cvm_device_uid(device)) ||
        !cJSON_AddBoolToObject(object, "is_enabled", cvm_device_is_enabled(device)) ||
        !cJSON_AddBoolToObject(object, "is_registered", cvm_device_is_registered(device)) ||
        cli_json_text(object, "thing_name", cvm_device_thing_name(device)) ||
        cli_json_text(object, "registered_on", cvm_device_registered_on(device)) ||
        cli_json_text(object, "certificate_id", cvm_device_certificate_id(device))) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

/* --- For people ------------------------------------------------------------------------------- */

static const char *state_of(const cvm_device_t *device)
{
    if (cvm_device_is_revoked(device))
        return "revoked";
    if (!cvm_device_is_enabled(device))
        return "disabled";
    return cvm_device_is_registered(device) ? "registered" : "waiting";
}

static void print_field(const char *name, const char *text)
{
    if (text)
        (void)printf("%-15s %s\n", name, text);
}

static void print_certificate(const cvm_certificate_t *certificate, int32_t pem)
{
    (void)printf("certificate     %s  %s\n", cvm_certificate_id(certificate),
        cvm_certificate_state(certificate));
    print_field("  serial", cvm_certificate_serial(certificate));
    print_field("  not before", cvm_certificate_not_before(certificate));
    print_field("  not after", cvm_certificate_not_after(certificate));
    print_field("  revoke after", cvm_certificate_revoke_after(certificate));
    print_field("  reason", cvm_certificate_reason(certificate));
    if (pem)
        (void)fputs(cvm_certificate_pem(certificate), stdout);
}

int32_t device_print(const cvm_device_t *device, int32_t json, int32_t pem)
{
    const cvm_certificate_t *certificate;
    if (json) {
        cJSON *object = device_json(device);
        if (object &&
            (add_certificates(object, device, pem) ||
                cli_json_text(object, "lease", cvm_device_lease(device)) ||
                (cvm_device_gap(device) && cli_json_text(object, "gap", cvm_device_gap(device))))) {
            cJSON_Delete(object);
            object = NULL;
        }
        return cli_print_json(object);
    }
    print_field("device_uid", cvm_device_uid(device));
    print_field("state", state_of(device));
    print_field("thing_name", cvm_device_thing_name(device));
    print_field("registered_on", cvm_device_registered_on(device));
    print_field("lease until", cvm_device_lease(device));
    if (cvm_device_gap(device))
        (void)printf("certificates    unknown: %s\n", cvm_device_gap(device));
    for (uint32_t i = 0; (certificate = cvm_device_certificate(device, i)); i++)
        print_certificate(certificate, pem);
    return 0;
}

int32_t device_print_line(const cvm_device_t *device, int32_t json)
{
    if (json)
        return cli_print_json(device_json(device));
    const char *registered_on = cvm_device_registered_on(device);
    (void)printf("%-10s %-20s %s\n", state_of(device), registered_on ? registered_on : "-",
        cvm_device_uid(device));
    return 0;
}

/* --- News ------------------------------------------------------------------------------------- */

static int32_t print_news_json(const struct device_news *news)
{
    static const char *const CHANGES[] = {
        "", "added", "enabled", "disabled", "reset", "revoked", "removed"};
    cJSON *object = news->device ? device_json(news->device) : cJSON_CreateObject();
    if (!object || (!news->device && cli_json_text(object, "device_uid", news->uid)) ||
        (news->device &&
            !cJSON_AddBoolToObject(object, "is_revoked", cvm_device_is_revoked(news->device))) ||
        cli_json_text(object, "done", CHANGES[news->change]) ||
        (news->crl_number &&
            !cJSON_AddNumberToObject(object, "crl_number", (double)news->crl_number))) {
        cJSON_Delete(object);
        object = NULL;
    }
    return cli_print_json(object);
}

static void print_enabled(const struct device_news *news)
{
    if (cvm_device_is_revoked(news->device))
        (void)printf("%s is enabled, but it was revoked: to let it register again, "
                     "`cvm device reset %s` too\n",
            news->uid, news->uid);
    else if (cvm_device_is_registered(news->device))
        (void)printf("%s is enabled, and registered: its certificate is good\n", news->uid);
    else
        (void)printf("%s is enabled: it may register\n", news->uid);
}

/* Whether a certificate is still good: one that was revoked has nothing to retire from. */
static int32_t has_current(const cvm_device_t *device)
{
    const cvm_certificate_t *certificate;
    for (uint32_t i = 0; (certificate = cvm_device_certificate(device, i)); i++)
        if (strcmp(cvm_certificate_state(certificate), "current") == 0)
            return 1;
    return 0;
}

static void print_reset(const struct device_news *news)
{
    (void)printf("%s is reset: it may register once more", news->uid);
    if (has_current(news->device))
        (void)printf("; its certificate retires when a new one is recorded");
    if (!cvm_device_is_enabled(news->device))
        (void)printf(", but it is still disabled: `cvm device enable %s` too", news->uid);
    (void)putchar('\n');
}

/* How the certificates that were are seen by brokers. */
static void print_crl(const struct device_news *news, const char *what)
{
    if (news->device && !cvm_device_certificate(news->device, 0))
        (void)puts("no certificate of it is on record");
    else if (news->crl_number)
        (void)printf("crl.pem number %" PRId64 " %s%s; sessions that are open live on until the "
                     "broker drops them\n",
            news->crl_number, what, news->is_shared ? "; " CLI_FOLLOWERS : "");
    else
        (void)puts("sessions that are open live on until the broker drops them");
}

int32_t device_print_news(const struct device_news *news, int32_t json)
{
    if (json)
        return print_news_json(news);
    switch (news->change) {
    case DEVICE_ADDED:
        (void)printf("%s is added%s\n", news->uid,
            cvm_device_is_enabled(news->device) ? ": it may register" : ", and disabled");
        break;
    case DEVICE_ENABLED:
        print_enabled(news);
        break;
    case DEVICE_DISABLED:
        (void)printf("%s is disabled: ", news->uid);
        print_crl(news, "suspends its certificate");
        break;
    case DEVICE_RESET:
        print_reset(news);
        break;
    case DEVICE_REVOKED:
        (void)printf("%s is revoked and disabled: ", news->uid);
        print_crl(news, "lists its certificate");
        break;
    case DEVICE_REMOVED:
        (void)printf("%s is removed%s", news->uid, news->crl_number ? ": " : "\n");
        if (news->crl_number)
            print_crl(news, "lists the certificates that it had");
        break;
    default:
        break;
    }
    return 0;
}
