/* The words that fenced calls answer with. A fenced call is one that the database carries out only for the worker that
 * holds the job's lease, so each may be told that the job is not its own any more. What a word means beyond that
 * (of a purchase, of a closing) is told by the stage that called. */
#include <string.h>

#include "flow/fence.h"

JobEvent fence_hear(const char *answer, Fault *reterr) {
    static const struct {
        const char *word;
        JobEvent ev;
    } words[] = {
        { "ok", EV_OK },         { "lost", EV_LOST },   { "closed", EV_LOST },
        { "cancel", EV_CANCEL }, { "gone", EV_CANCEL },
    };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(answer, words[i].word) == 0)
            return words[i].ev;
    if (strcmp(answer, "busy") == 0) {
        fault_set(reterr, FAULT_DATABASE_BUSY, "somebody else has locked a row of the job");
        return EV_WAIT;
    }
    fault_set(reterr, FAULT_DATABASE, "an answer that is not known: '%.50s'", answer);
    return EV_RETRY;
}
