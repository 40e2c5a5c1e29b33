/* Modules: plugins in shared objects, which a configuration names. */
#include <dlfcn.h>
#include <stddef.h>

#include "backend/registry.h"

/* Of the first release. */
#define FIRST_SIZE (offsetof(cvm_module_t, plugin) + sizeof(cvm_plugin_fn))

/* NULL, or why the module can't be taken. */
static const char *module_fault(const cvm_module_t *module)
{
    if (!module)
        return "it exports no cvm_module: it is no module of libcvm's";
    if (module->size < FIRST_SIZE || !module->plugin)
        return "its cvm_module is too short: was it built with another header?";
    if (module->version != CVM_PLUGIN_VERSION)
        return module->version < CVM_PLUGIN_VERSION
                   ? "it was built for an older release, whose tables don't fit: build it anew"
                   : "it was built for a newer release, whose tables don't fit";
    return NULL;
}

/* It stays loaded: its threads may outlive an instance. */
cvm_error_t *cvm_registry_load(struct cvm_registry_s *registry, const char *path)
{
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!object)
        return cvm_error_configuration("module", "module: %.220s", dlerror());
    const cvm_module_t *module = dlsym(object, "cvm_module");
    const char *fault = module_fault(module);
    cvm_error_t *error = NULL;
    if (fault)
        error = cvm_error_configuration("module", "module: %.120s: %s", path, fault);
    else if (!cvm_registry_has(registry, module->plugin))
        error = cvm_registry_take(registry, module->plugin, NULL, "module", path);
    (void)dlclose(object);
    return error;
}
