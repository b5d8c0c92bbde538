/* What was seen of libraries that were told of a shortage: jansson 2.14 leaves a byte out of a string, and so
 * makes an id another one; libcrypto 3.0 half sets itself up, and crashes at the next hash; libcurl 7.88 keeps
 * a table of no size, and divides by that size later. */
#include <curl/curl.h>
#include <jansson.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log_out.h"
#include "daemon/libraries.h"

static void *or_end(void *p) {
    static const char said[] =
        "meshifyd: out of memory, ending at once; what was begun is found again\n";

    if (!p) {
        log_out_stderr(said);
        _exit(EX_SOFTWARE);
    }
    return p;
}

/* Of nothing there may be nothing: malloc(3). */
static void *allocate(size_t size) {
    return or_end(malloc(size ? size : 1));
}

static void *allocate_zeroed(size_t n, size_t size) {
    return n && size ? or_end(calloc(n, size)) : allocate(0);
}

static void *reallocate(void *p, size_t size) {
    return or_end(realloc(p, size ? size : 1));
}

static char *duplicate(const char *text) {
    return or_end(strdup(text));
}

static void *crypto_allocate(size_t size, const char *file, int line) {
    (void) file;
    (void) line;
    return allocate(size);
}

static void *crypto_reallocate(void *p, size_t size, const char *file, int line) {
    (void) file;
    (void) line;
    return reallocate(p, size);
}

static void crypto_free(void *p, const char *file, int line) {
    (void) file;
    (void) line;
    free(p);
}

const char *libraries_begin(void) {
    CURLcode r;

#ifdef M_ARENA_MAX
    /* Threads look names up, and no more: an arena for each would take 64 MiB of address space and keep it. */
    (void) mallopt(M_ARENA_MAX, 1);
#endif
    json_set_alloc_funcs(allocate, free);
    /* Refused where something has allocated already, as a preloaded library may: then it does without. */
    (void) CRYPTO_set_mem_functions(crypto_allocate, crypto_reallocate, crypto_free);
    r = curl_global_init_mem(CURL_GLOBAL_DEFAULT, allocate, free, reallocate, duplicate,
                             allocate_zeroed);
    return r == CURLE_OK ? NULL : curl_easy_strerror(r);
}

void libraries_end(void) {
    curl_global_cleanup();
}
