/* What all parts of meshify-sim share: the state, its settings, its counters.
 *
 * Two threads of libmicrohttpd serve the two listeners; the main thread waits for signals and for
 * stalled answers to become due. Everything in Sim is guarded by `lock` but what never changes. */
#pragma once
#include <jansson.h>
#include <pthread.h>

#include "digest.h"
#include "glb.h"
#include "table.h"
#include "text.h"

#ifndef VERSION
#define VERSION "0"
#endif

#define MSEC_USEC INT64_C(1000)
#define SEC_USEC INT64_C(1000000)
#define HOUR_USEC (3600 * SEC_USEC)

typedef struct Sim Sim;
typedef struct Request Request;
typedef struct Reply Reply;
typedef struct Fault Fault;

/* What is asked for; the words are those of the control endpoint. */
typedef enum Endpoint {
    EP_CREATE,
    EP_GET,
    EP_LIST,
    EP_CANCEL,
    EP_ACCOUNT,
    EP_FILE,
    EP_UPLOAD,
    EP_SIGN,
    EP_INFO,
    EP_BUCKET,
    EP_OBJECT, /* reading an object, signed or not; deleting it */
    EP_OTHER,  /* an unknown path */
    EP_CONTROL,
    _EP_MAX
} Endpoint;

extern const char *const endpoint_names[_EP_MAX];

#define CODE_MAX 600 /* HTTP status; 0 counts connections closed without an answer */

/* A token bucket: `tokens` grow by per_minute / 60 a second up to `burst`. */
typedef struct Bucket {
    double per_minute, burst, tokens; /* per_minute 0: no limit */
    int64_t seen_usec;
} Bucket;

typedef struct Settings {
    int64_t starting_usec, processing_usec; /* how long a prediction stays in each status */
    int64_t settle_usec;                    /* after its end the database's JSON shape is served */
    int64_t keep_usec;                      /* after its end the data is removed */
    int64_t shift_usec;                     /* added to the clock */
    int64_t cancel_after_min_usec;          /* shorter Cancel-After is refused */
    int64_t jitter_percent;                 /* of the durations, up or down */
    int64_t glb_bytes;                      /* size of meshes … */
    json_t *model_bytes;                    /* … but for these models */
    int64_t keep_bytes;                     /* uploads up to this size keep their bytes */
    bool list_all;                          /* listings show also what is late */
    bool bare;                              /* in-flight JSON without any null, as in 2023 */
    char *throttle;                         /* body, text or header: where a 429 says how long */
    char *api_token, *storage_key;          /* the only good ones; NULL: any */
    char *api_url, *files_url;              /* as they stand in answers; NULL: the listeners' */
    Bucket create, get, other;
} Settings;

typedef struct Stats {
    uint64_t requests[_EP_MAX][CODE_MAX];
    uint64_t received[_EP_MAX];
    uint64_t connections[2],
        reused; /* opened at each listener; requests that were not a first one */
    uint64_t file_authorizations, prefer_headers, throttled, faults;
    uint64_t file_bytes, upload_bytes; /* handed to the network; received */
} Stats;

typedef enum BadFile {
    FILE_GOOD,
    FILE_TRUNCATED, /* half a GLB, whole as a download */
    FILE_HTML,      /* an error page with status 200 */
    FILE_EMPTY,
    FILE_NOT_GLB,      /* other bytes under the GLB's type */
    FILE_WRONG_LENGTH, /* promises more than comes */
    FILE_NO_LENGTH,    /* chunked */
    FILE_BAD_HASH,     /* promised hashes of other bytes */
    FILE_CHANGED,      /* another file under the same name, good in itself */
    FILE_CARELESS,     /* other bytes, as if they were the right ones, whatever If-Range says */
    FILE_NO_RANGES,    /* always the whole, and nothing to tell it from another by */
    _FILE_MAX
} BadFile;

extern const char *const bad_file_names[_FILE_MAX];

/* Prediction status, in the API's words. */
typedef enum Status {
    STATUS_STARTING,
    STATUS_PROCESSING,
    STATUS_SUCCEEDED,
    STATUS_FAILED,
    STATUS_CANCELED,
    STATUS_ABORTED,
    _STATUS_MAX
} Status;

extern const char *const status_names[_STATUS_MAX];

typedef struct Prediction {
    char id[27];
    uint64_t seed;
    char *model, *version, *deployment; /* deployment may be NULL */
    bool official;
    json_t *input;
    char *input_text; /* dumped */
    char *match_text; /* all its texts and those of the prediction its image came from */
    int64_t shown_usec, created_usec; /* in flight, and in the database: some ms later */
    int64_t started_usec, ended_usec; /* planned; a cancel moves them; started 0: never */
    int64_t deadline_usec, listed_usec, predict_usec;
    Status end;
    char *error;
    json_t *output; /* scripted, or NULL */
    BadFile bad_file;
    uint64_t glb_bytes;
    /* for the control endpoint */
    int64_t arrived_usec; /* CLOCK_REALTIME, not shifted */
    char *cancel_after;
    bool cancel_answered;
    unsigned cancels, fetched, served;
    char sha256[HASH_HEX_SIZE]; /* of the file, once it was served */
    Digest digest[2];           /* mesh, picture; size 0: not computed yet */
} Prediction;

typedef struct Object Object;
typedef struct Store Store;

struct Sim {
    pthread_mutex_t lock;
    uint64_t seed, serial; /* serial never goes back: no id comes twice */
    Settings set;
    Stats stats;
    struct Fault *faults; /* first match counts */
    unsigned fault_serial;
    uint64_t chances; /* taken so far */
    Table by_id;
    Prediction **by_time; /* ascending created_usec, no two equal */
    size_t n_by_time, room_by_time;
    Store *store;
    struct Timers *timers;
    char *api_url, *files_url;
};

static inline int64_t sim_now(const Sim *sim) {
    return text_now_usec() + sim->set.shift_usec;
}

/* settings.c */
bool settings_reset(Sim *sim); /* to the defaults; false: no memory */
void settings_done(Settings *set);
bool settings_set(Sim *sim, json_t *values, Buf *reterr_why); /* all of them, or none */
json_t *settings_list(const Settings *set);

/* control.c */
void control_route(Sim *sim, Request *r, Reply *reply);

/* prediction.c */
typedef struct Creation {
    const char *model, *version, *deployment; /* version NULL: official */
    json_t *input;
    const char *cancel_after;
    int64_t cancel_after_usec, arrived_usec;
    const Fault *fault;
} Creation;

Prediction *prediction_create(Sim *sim, const Creation *c); /* NULL: no memory */
Prediction *prediction_find(const Sim *sim, const char *id);
Status prediction_status(const Prediction *p, int64_t now_usec);
void prediction_cancel(Prediction *p, int64_t now_usec);
bool prediction_data_removed(const Sim *sim, const Prediction *p, int64_t now_usec);
void predictions_done(Sim *sim);
const char *model_of_version(const char *version);
bool model_missing_input(const char *model, const json_t *input, Buf *ret_what); /* 422 */
void text_of_json(Buf *b, const json_t *value);         /* every text in it, a line each */
char *prediction_match_text(const Sim *sim, Buf *text); /* takes the text, adds the origin's */

/* shape.c: a prediction as JSON */
typedef enum ShapeKind {
    SHAPE_FLIGHT,
    SHAPE_DATABASE,
    SHAPE_LIST
} ShapeKind;
void shape_add(const Sim *sim, Buf *b, const Prediction *p, int64_t now_usec, ShapeKind kind);
void shape_add_current(const Sim *sim, Buf *b, const Prediction *p, int64_t now_usec);

/* replicate.c, files.c, storage.c: _prepare names the endpoint and what a fault may match */
void replicate_prepare(Sim *sim, Request *r);
void replicate_route(Sim *sim, Request *r, Reply *reply);
void files_prepare(Sim *sim, Request *r);
void files_route(Sim *sim, Request *r, Reply *reply); /* takes the lock itself */

typedef struct Upload Upload;
bool storage_is_upload(const Request *r);
bool storage_refuses_early(Sim *sim, Request *r); /* by its headers; the reply is in `r` then */
void storage_prepare(Request *r);
void storage_route(Sim *sim, Request *r, Reply *reply);
void storage_problem(Reply *reply, unsigned http, const char *status, const char *error,
                     const char *message, const char *code);
Store *store_new(void);
Store *store_free(Store *s);
bool store_reset(Store *s); /* user_assets alone remains; false: no memory */
json_t *store_list(const Store *s);
Upload *upload_new(int64_t keep_bytes);
bool upload_feed(Upload *u, const void *bytes, size_t size);
Upload *upload_free(Upload *u);
