/* An answer of Replicate's about one prediction, or none, read as it comes: what is needed of it becomes
 * the reply's body, which stays small whatever came. Pure. */
#pragma once
#include "base/http_message.h"

#define ANSWER_OUTPUT_MAX (64 * 1024) /* of a prediction's output, about; as of all else, below */

/* For a request; the reply's body is then an object with the members that stages look at, or NULL where
 * what came was no object. A member that was too large is left out and named in "too_large", an array;
 * of logs and errors the end is kept. 0, -ENOMEM. */
int answer_sieve(HttpSieve **ret);
