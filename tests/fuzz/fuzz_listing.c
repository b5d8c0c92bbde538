/* Any bytes as pages of Replicate's listing, a byte 0x1e between two: a pass ends, however they lead; it
 * reads the same in whatever pieces they come; what it shows can be asked for, and where it goes on is a
 * page of ours. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "flow/listing.h"
#include "flow/replicate.h"
#include "fuzz.h"

#define API "https://api.replicate.com/v1/predictions?created_after=2001-09-09T01:43:20Z"
#define PART 0x1e

typedef struct Tally {
    unsigned shown, pages;
    size_t bytes; /* of all inputs */
    int end;
} Tally;

static int told(void *userdata, const char *id, const json_t *input) {
    Tally *t = userdata;
    char *text = json_write(input);

    if (!replicate_is_id(id) || !json_is_object(input) || !text)
        abort();
    t->shown++;
    t->bytes += strlen(text);
    free(text);
    return 0;
}

static void read_all(const uint8_t *bytes, size_t size, size_t piece, Tally *t) {
    static Listing l; /* it stays where it is */

    listing_begin(&l, 1000000000 + 100, told, t);
    for (t->end = 1; t->end == 1; t->pages++) {
        const uint8_t *part = size > 0 ? memchr(bytes, PART, size) : NULL;
        size_t n = part ? (size_t) (part - bytes) : size;
        HttpReply reply = { .end = HTTP_ANSWERED, .code = 200 };
        HttpRequest request;
        Fault f = { 0 };

        if (listing_ask(config(), &l, &request) < 0 ||
            strncmp(request.url, API, sizeof API - 1) != 0 || strpbrk(request.url, " #\"\\\r\n") ||
            strstr(request.url + sizeof API - 1, "&cursor=") !=
                (l.cursor ? request.url + sizeof API - 1 : NULL))
            abort();
        for (size_t i = 0; i < n; i += piece)
            if (request.sieve->feed(request.sieve, (const char *) bytes + i,
                                    n - i < piece ? n - i : piece) < 0)
                abort();
        http_request_done(&request);
        if (l.sieve.end(&l.sieve, &reply) < 0)
            abort();
        t->end = listing_hear(&l, &reply, &f);
        if ((t->end < 0) != (f.code != FAULT_NONE) || t->pages > LISTING_PAGES_MAX)
            abort();
        (void) listing_has_reached(&l, 1000000000);
        bytes += part ? n + 1 : 0; /* the last page comes again and again */
        size -= part ? n + 1 : 0;
    }
    listing_done(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    Tally whole = { 0 }, pieces = { 0 };

    read_all(bytes, size, size + 1, &whole);
    read_all(bytes, size, 1 + size % 7, &pieces);
    if (whole.shown != pieces.shown || whole.pages != pieces.pages || whole.bytes != pieces.bytes ||
        whole.end != pieces.end)
        abort();
    return 0;
}
