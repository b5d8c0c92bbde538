/* Replicate's listing of predictions, page by page, newest first: the only way to find what was bought
 * when its answer is lost. Pure. https://replicate.com/docs/reference/http#predictions.list */
#pragma once
#include <jansson.h>
#include <stdint.h>

#include "base/message.h"
#include "core/config.h"

#define LISTING_WINDOW_USEC (UINT64_C(3600) * 1000000) /* inputs are removed after an hour */

/* The page at `cursor`, or the first (NULL) of what was made after `from_epoch` (seconds since 1970)
 * and five minutes before it: Replicate's clock is not PostgreSQL's. 0, -ENOMEM. */
int listing_ask(const Config *c, int64_t from_epoch, const char *cursor, HttpRequest *ret);

/* Replaces *cursor by that of the page after `page`, NULL after the last. The token follows it only
 * to the API that we are talking to: -EBADMSG where it leads elsewhere, -ELOOP to itself, -ENOMEM. */
int listing_next(const Config *c, const json_t *page, char **cursor);

/* 1: the item has a usable id and the input that was written down as `hash` of `keys`; 0: not;
 * -ENOMEM: who knows? */
int listing_matches(const json_t *item, const char *hash, const json_t *keys);
