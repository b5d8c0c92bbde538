/* Replicate's listing of predictions, page by page, newest first: the only way to find what was bought
 * when its answer is lost. A page is read as it comes, whatever its size. Pure.
 * https://replicate.com/docs/reference/http#predictions.list */
#pragma once
#include <jansson.h>
#include <stdint.h>

#include "base/fault.h"
#include "base/http_message.h"
#include "core/config.h"
#include "core/sift.h"

#define LISTING_WINDOW_USEC (UINT64_C(3600) * 1000000) /* inputs are removed after an hour */
#define LISTING_INPUT_MAX (1024 * 1024) /* bytes in memory, about; what is larger is not ours */
#define LISTING_PAGES_MAX 1000          /* 100 predictions each; an hour has at most 400 of ours */

/* A prediction that may be ours: it has a usable id, an input, and was not made on Replicate's own page.
 * 0, or -ENOMEM, which ends the page. */
typedef int (*ListingTold)(void *userdata, const char *id, const json_t *input);

typedef struct Listing { /* one pass; zeroed: none */
    HttpSieve sieve;     /* first: of the page that is asked for */
    ListingTold told;
    void *userdata;
    int64_t from_epoch; /* the pass goes back to there, and SKEW further */
    char *cursor;       /* of the page to be asked for; NULL: the first */
    char *mark;         /* an earlier one, moved up now and then: who comes back to it goes round */
    unsigned pages;     /* that were read */
    Sift sift;          /* the page under way */
    bool is_bad, no_memory;
    bool unordered; /* not newest first, or without times: only its end says how far it went */
    int64_t reached_epoch;        /* creation of the last item that was read; INT64_MAX: none */
    unsigned long long too_large; /* items whose input was not held */
} Listing;

/* A pass over what was made after `from_epoch` (seconds since 1970) and five minutes before it:
 * Replicate's clock is not PostgreSQL's. `l` is zeroed or done with, and stays where it is. */
void listing_begin(Listing *l, int64_t from_epoch, ListingTold told, void *userdata);
void listing_done(Listing *l);

/* Asks for the next page; the request's sieve is `l`. 0, -ENOMEM. */
int listing_ask(const Config *c, Listing *l, HttpRequest *ret);

/* The page came, or did not. 1: another follows; 0: that was all; -EBADMSG with a fault, or -ENOMEM: what
 * this page told does not count. Of `next` only the cursor is taken: we ask where we always ask. */
int listing_hear(Listing *l, const HttpReply *reply, Fault *reterr);

/* Has all been shown that was made since `from_epoch`, as listing_begin() means it? */
bool listing_has_reached(const Listing *l, int64_t from_epoch);

/* Could an input of ours be found again? What can't must not be bought. */
bool listing_can_show(const json_t *input);
