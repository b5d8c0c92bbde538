/* Stage 7: the mesh goes into the store; and what else is asked of a store. A table of drivers, found by
 * [storage] driver. Pure.
 *
 * What is asked of a store is a piece of work: it is begun, takes as many steps as the store wants, and
 * ends. A driver says what the next step is and hears what came of it; EV_MORE means that another one
 * follows. Who carries the steps out knows kinds of steps and no driver, and a driver knows no edge:
 *
 *     for (ev = driver->begin(&work); ev == EV_MORE; ev = driver->hear(&work, &answer))
 *         driver->next(&work, &step);    and the step is carried out, which gives the answer
 *
 * A job that rests in between begins anew; what must outlive the rest stands in the Job, as `unproven`
 * does. Uploads in several requests (TUS, S3's multipart) fit as well: the job keeps where they got to, and
 * abort() lets go of what they left. */
#pragma once
#include "base/http_message.h"
#include "core/config.h"
#include "core/job.h"

/* What the doctor says of a store. */
typedef struct StoreFinding {
    enum {
        STORE_GOOD,
        STORE_DOUBTFUL,
        STORE_BAD,
    } grade;
    const char *advice; /* static; NULL: that of the work's fault, if it has one */
    char found[400];
} StoreFinding;

/* One piece of work. Filled in by who wants it done, but for the last four. All pointers are borrowed. */
typedef struct StoreWork {
    const Config *config;
    Job *job;           /* whose mesh or image it is; NULL for remove() and check() */
    int fd;             /* begin(): the mesh */
    const char *object; /* remove(): its name */

    /* The driver's: */
    unsigned phase;       /* its own: which step comes next */
    Fault fault;          /* of an end that is not EV_OK */
    bool is_general;      /* remove(): what went wrong would meet other objects too, now */
    StoreFinding finding; /* check() */
} StoreWork;

/* Whoever carries steps out has to know a new kind: daemon/store_op.c, and ctl/doctor_http.c those of check(). */
typedef enum StoreStepKind {
    STORE_SEND,   /* `request` goes out; it is the caller's to send or to clear */
    STORE_PUT,    /* the job's file is copied to `name` in the directory `root` */
    STORE_UNLINK, /* `name` in `root` is removed */
    STORE_LOOK,   /* can files be made in `root`? */
} StoreStepKind;

typedef struct StoreStep {
    StoreStepKind what;
    HttpRequest request;
    const char *root, *name; /* borrowed */
} StoreStep;

typedef struct StoreAnswer {
    const HttpReply *reply; /* to STORE_SEND; else NULL */
    int error;              /* to the others: 0 or a negative errno */
} StoreAnswer;

/* A driver. Those of its functions that begin something answer EV_MORE: next() has the first step; EV_OK: nothing has
 * to be done; EV_FINAL: it can't be done. */
typedef struct StoreDriver {
    const char *name;     /* as [storage] driver has it */
    unsigned descriptors; /* that the upload of one mesh holds open, beside the mesh */
    bool leaves_files;    /* killed workers leave temporary ones, which dir_sweep() finds */

    /* Where objects lie, in words that change when the place does; the caller's to free. NULL: out of memory. */
    char *(*place)(const Config *c);

    /* The mesh goes up as job->object, over what may be there. */
    JobEvent (*begin)(StoreWork *w);
    /* What an upload of the job left unfinished is let go. NULL: none leaves anything. */
    JobEvent (*abort)(StoreWork *w);
    /* Ends with EV_OK also where the object was gone already; else with EV_WAIT. */
    JobEvent (*remove)(StoreWork *w);
    /* Ends with EV_OK and job->image_url set, a URL of the job's image. NULL: this store has none. */
    JobEvent (*sign)(StoreWork *w);
    /* `finding` is set by its end, whatever that is. */
    JobEvent (*check)(StoreWork *w);

    /* What to do now. 0 or -ENOMEM. */
    int (*next)(StoreWork *w, StoreStep *ret);
    /* What came of it. EV_MORE: next() again; EV_OK: done; or an end by the work's fault. */
    JobEvent (*hear)(StoreWork *w, const StoreAnswer *answer);
} StoreDriver;

/* Each in the file of its name. */
extern const StoreDriver store_supabase, store_dir;

const StoreDriver *store_driver(const Config *c);

/* As the driver's, also where it has none. */
JobEvent store_abort(StoreWork *w);
JobEvent store_sign(StoreWork *w);
