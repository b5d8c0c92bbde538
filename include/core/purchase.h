/* One purchase of a prediction, as a job knows it, and what may be said of it. Pure. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* Replicate removes the outputs of a prediction after an hour. */
#define PURCHASE_OUTPUT_LIVES_USEC (UINT64_C(3600) * 1000000)

/* One purchase of a step: a row of meshify.predictions. */
typedef enum PurchaseState {
    PURCHASE_INTENDED, /* written down; perhaps sent, perhaps bought */
    PURCHASE_BOUGHT,   /* its prediction is known */
    PURCHASE_GIVEN_UP, /* looked for and not found */
    PURCHASE_SURPLUS,  /* found later, canceled */
    PURCHASE_ENDED,    /* never sent, refused, or over without a usable output */
} PurchaseState;

typedef struct Purchase {
    char key[STR_UUID_SIZE];   /* made by its buyer */
    char buyer[STR_UUID_SIZE]; /* the worker; "": unknown */
    char *step;
    unsigned number; /* within its step, from 1, never reused */
    PurchaseState state;
    char *prediction_id; /* NULL: unknown */
    char *model;         /* as the configuration named it then; NULL: unknown */
    char *pipeline;      /* that it was bought for; NULL: unknown, and so are the next two */
    char *pointer;       /* to its output; NULL: found by itself */
    bool is_last;        /* its step was the pipeline's last: the output is the mesh */
    char *input_hash;    /* of the keys below */
    json_t *input_keys;
    uint64_t intent_usec;  /* when it was written down, on our clock */
    int64_t intent_epoch;  /* the same on the database's clock, in seconds since 1970; 0: unknown */
    uint64_t give_up_usec; /* before then it must not be given up as not bought, on our clock */
    bool finished;         /* the prediction is terminal */
    bool succeeded;        /* and went well, whatever became of its output */
    bool usable;           /* and its output serves */
    uint64_t finished_usec;
    double predict_time; /* seconds billed; < 0: unknown */
    json_t *output;
} Purchase;

/* Frees what it owns, not itself. */
void purchase_done(Purchase *p);

/* Has its prediction ended with an output that serves? */
bool purchase_succeeded(const Purchase *p);

/* The same, and the output can still be fetched. */
bool purchase_output_lives(const Purchase *p, uint64_t now_usec);
