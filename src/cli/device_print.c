/* Printing devices, for people and as JSON. */
#include "device_print.h"

#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

/* --- JSON ------------------------------------------------------------------------------------- */

static int32_t add_text(cJSON *object, const char *name, const char *text)
{
    cJSON *item = text ? cJSON_CreateStringReference(text) : cJSON_CreateNull();
    return cJSON_AddItemToObject(object, name, item) ? 0 : -1;
}

static cJSON *certificate_json(const cvm_certificate_t *certificate, int32_t pem)
{
    cJSON *object = cJSON_CreateObject();
    if (!object || add_text(object, "certificate_id", cvm_certificate_id(certificate)) ||
        add_text(object, "state", cvm_certificate_state(certificate)) ||
        add_text(object, "serial", cvm_certificate_serial(certificate)) ||
        add_text(object, "not_before", cvm_certificate_not_before(certificate)) ||
        add_text(object, "not_after", cvm_certificate_not_after(certificate)) ||
        add_text(object, "revoke_after", cvm_certificate_revoke_after(certificate)) ||
        add_text(object, "reason", cvm_certificate_reason(certificate)) ||
        (pem && add_text(object, "pem", cvm_certificate_pem(certificate)))) {
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
    if (!object || add_text(object, "device_uid", cvm_device_uid(device)) ||
        !cJSON_AddBoolToObject(object, "is_enabled", cvm_device_is_enabled(device)) ||
        !cJSON_AddBoolToObject(object, "is_registered", cvm_device_is_registered(device)) ||
        add_text(object, "thing_name", cvm_device_thing_name(device)) ||
        add_text(object, "registered_on", cvm_device_registered_on(device)) ||
        add_text(object, "certificate_id", cvm_device_certificate_id(device))) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

static int32_t print_json(cJSON *object)
{
    char *text = object ? cJSON_PrintUnformatted(object) : NULL;
    if (text)
        (void)puts(text);
    cJSON_free(text);
    cJSON_Delete(object);
    return text ? 0 : -1;
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
        if (object && (add_certificates(object, device, pem) ||
                          add_text(object, "lease", cvm_device_lease(device)))) {
            cJSON_Delete(object);
            object = NULL;
        }
        return print_json(object);
    }
    print_field("device_uid", cvm_device_uid(device));
    print_field("state", state_of(device));
    print_field("thing_name", cvm_device_thing_name(device));
    print_field("registered_on", cvm_device_registered_on(device));
    print_field("lease until", cvm_device_lease(device));
    for (uint32_t i = 0; (certificate = cvm_device_certificate(device, i)); i++)
        print_certificate(certificate, pem);
    return 0;
}

int32_t device_print_line(const cvm_device_t *device, int32_t json)
{
    if (json)
        return print_json(device_json(device));
    const char *registered_on = cvm_device_registered_on(device);
    (void)printf("%-10s %-20s %s\n", state_of(device), registered_on ? registered_on : "-",
        cvm_device_uid(device));
    return 0;
}
