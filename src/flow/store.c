/* The table of store drivers. Outside of the configuration nothing asks which one is configured: whoever needs to
 * know something of a store asks its driver. What each makes of its store's answers stands in the file of its name. */
#include "flow/store.h"

static const StoreDriver *const drivers[] = {
    [STORAGE_SUPABASE] = &store_supabase,
    [STORAGE_DIR] = &store_dir,
};

_Static_assert(sizeof drivers / sizeof *drivers == _STORAGE_MAX, "no driver reads behind the end");

const StoreDriver *store_driver(const Config *c) {
    return drivers[c->storage_driver]; /* never that of s3, which the configuration refuses */
}

JobEvent store_abort(StoreWork *w) {
    const StoreDriver *driver = store_driver(w->config);

    return driver->abort ? driver->abort(w) : EV_OK;
}

JobEvent store_sign(StoreWork *w) {
    const StoreDriver *driver = store_driver(w->config);

    if (driver->sign)
        return driver->sign(w);
    fault_set(&w->fault, FAULT_IMAGE_FORBIDDEN, "a path can't be signed by this storage driver");
    return EV_FINAL;
}
