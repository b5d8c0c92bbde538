/* The faults of a job, a closed list: each has a word, a verdict and a sentence. */
#pragma once
#include <stdint.h>

typedef enum FaultCode {
    FAULT_NONE,
    FAULT_PROMPT_MISSING,    /* input_data has no usable prompt, and no image */
    FAULT_INPUT_INVALID,     /* input_data is no object, or its members have other types */
    FAULT_INPUT_TOO_LARGE,   /* the prompt is longer than max_prompt, or input_data than 512 KiB */
    FAULT_IMAGE_FORBIDDEN,   /* a path that is not the user's, or nothing that could be signed */
    FAULT_IMAGE_MISSING,     /* the path names no object */
    FAULT_IMAGE_UNREACHED,   /* the model could not fetch the URL that we gave it */
    FAULT_IMAGE_UNSIGNED,    /* the store answers oddly for this image alone */
    FAULT_ASSET_MISSING,     /* the job has no asset row to put a mesh into */
    FAULT_TOO_OLD,           /* waited longer than max_age */
    FAULT_SERVICE_UNREACHED, /* Replicate: no connection, no usable answer */
    FAULT_SERVICE_THROTTLED, /* 429 */
    FAULT_SERVICE_CREDIT,    /* 402 */
    FAULT_SERVICE_AUTH,      /* 401, 403 */
    FAULT_SERVICE_REFUSED,   /* another 4xx, 422 for the version: asking again cannot help */
    FAULT_MODEL_INPUT,       /* 422, 413: the model does not take this input */
    FAULT_MODEL_BUSY,        /* the prediction failed for want of a machine, or never started */
    FAULT_MODEL_OVERLOADED,  /* the same, and it will take a while */
    FAULT_MODEL_FAILED,      /* the prediction ran out of memory, or failed without a reason */
    FAULT_MODEL_ERROR,       /* the model's own code failed: it would fail again */
    FAULT_MODEL_TIMEOUT,     /* it ran, and was ended by its Cancel-After */
    FAULT_MODEL_CONTENT,     /* flagged by the model's safety check */
    FAULT_PREDICTION_GONE,   /* Replicate does not know an id any more that it gave us */
    FAULT_OUTPUT_MISSING,    /* succeeded without a file we can use */
    FAULT_OUTPUT_GONE,       /* the file host has it no more */
    FAULT_OUTPUT_FORBIDDEN,  /* a host, scheme or address that is not allowed */
    FAULT_OUTPUT_UNREACHED,  /* the file host does not answer, or breaks off */
    FAULT_OUTPUT_DAMAGED,    /* what came is not what the file host promised */
    FAULT_ASSET_TOO_LARGE,
    FAULT_ASSET_INVALID,    /* not a mesh, or a broken one */
    FAULT_STORE_UNREACHED,  /* storage: no connection, 5xx, read-only, locked */
    FAULT_STORE_CLOSED,     /* the project is paused or restricted: 540, 402 */
    FAULT_STORE_AUTH,       /* the key is refused */
    FAULT_STORE_BUCKET,     /* there is no such bucket, or the key can't see it */
    FAULT_STORE_TYPE,       /* the bucket does not take model/gltf-binary */
    FAULT_STORE_REFUSED,    /* the name is refused */
    FAULT_STORE_TOO_LARGE,  /* over the bucket's limit */
    FAULT_SPOOL_FULL,       /* no room on the local disk */
    FAULT_PURCHASE_UNKNOWN, /* bought or not? never found out, and not bought again */
    FAULT_STEP_GONE,        /* bought for a step that the configuration does not have any more */
    FAULT_TIMEOUT,          /* job_timeout is over */
    FAULT_CRASHED,          /* workers died over it too often */
    FAULT_DATABASE,         /* a call was refused by the database */
    FAULT_DATABASE_BUSY,    /* the database could not do it now: locks, shortage, a missing right */
    FAULT_INTERNAL,         /* our own bug or shortage */
    _FAULT_MAX,
} FaultCode;

typedef enum Verdict {
    VERDICT_WAIT,  /* uncounted: the same again later */
    VERDICT_RETRY, /* counted: another attempt may do */
    VERDICT_FINAL, /* the job has failed */
} Verdict;

typedef struct Fault {
    FaultCode code;
    uint64_t retry_after_usec; /* what the other side asked for; 0: it did not say */
    char detail[256];          /* for the log, never for the user; bounded, cleaned */
} Fault;

typedef struct FaultInfo {
    const char *word; /* metrics label and log field; never changes once released */
    Verdict verdict;
    const char *sentence; /* what the user reads in jobs.error */
    const char *advice;   /* what an operator can do; "": nothing */
    unsigned most;        /* attempts, where max_attempts would be too many: each costs; 0: not */
    unsigned later;       /* its back-off begins that many doublings later */
} FaultInfo;

const FaultInfo *fault_info(FaultCode code);

/* The advice for the operator, "" where there is none: the table's advice, or, where the way through a proxy
 * is what fails, the proxy's. */
const char *fault_advice(const Fault *fault);

/* Sets `reterr`; the detail is cut and control characters in it are replaced. Returns -EBADMSG. */
int fault_set(Fault *reterr, FaultCode code, const char *detail, ...)
    __attribute__((format(printf, 3, 4)));
