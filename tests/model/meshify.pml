/*
 * The purchase protocol: one job of STEPS steps, two workers, an API that loses answers, delivers late
 * and lists late. README.md says which function does which step, and which test catches which mutant.
 *
 * Sizes: STEPS, NB (purchases a step at most), K (predictions), TAKES (a worker is declared dead though
 * it lives), CRASHES, LATE (a request may be delivered, and listed, at any time).
 * What may happen besides: CANCEL (the user asks), DELETE (of the asset), RETRY (of an ended job, by an
 * operator), EXPIRE (an output is gone after its hour), TIMEOUT (job_timeout of a worker's own count),
 * CLAIMLOST (the answer of a claim), HANDBACK, NOTSENT (too late after the intent), STOPFAIL (a cancel
 * that can't be delivered). SEED: each purchase has an input of its own; else all of a step are equal.
 *
 * Rules, each left out by a mutant:
 *  NO_FENCE         closing does not ask whose the job is
 *  FENCED_RECORD    a fact is written down only by who holds the job
 *  NO_LOOK          bought again without looking
 *  NO_AUDIT         nobody looks later
 *  AUDIT_LISTS_ONLY the audit cancels what it finds in the listing, but nothing that is written down already
 *  SAME_KEY         every purchase's bytes under one name
 *  KEY_BY_USABLE    a success whose output is gone does not count for the name
 *  CLOSE_FIRST      the job is closed before its purchase is cancelled
 *  CANCEL_PENDING   a pending job ends at once, whatever was bought for it
 *  NO_TAKING_UP     a job whose claim's answer was lost is not taken up
 *  TIMEOUT_ANYWAY   a worker that may have lost its jobs acts on their time-out
 *  FIRST_MISSING    a job begins with its first step without an output, whatever is there of a later one
 *  RETRY_POLLS      a retry goes on with what is being cancelled
 *  IMAGELESS        a step that is bought again does not ask whether what it is made of is still there
 */
#ifndef STEPS
#define STEPS 1
#endif
#ifndef NB
#define NB 2
#endif
#ifndef K
#define K 2
#endif
#ifndef TAKES
#define TAKES 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#define R (STEPS * NB)          /* rows of meshify.predictions: step * NB + number */
#define NONE 255
#define STEP(row) ((row) / NB)

/* --- the database --- */
mtype = { PENDING, RUNNING, DONE, ERROR, CANCELED };
mtype status = PENDING;
byte owner = 0;                 /* jobs.worker_id; 0: NULL */
bool cancel_req = false;
byte closes = 0, refunds = 0, retries = 0;
mtype = { NOROW, INTENDED, BOUGHT, GIVEN_UP, SURPLUS, OVER };   /* OVER: 'ended' */
mtype row[R]; byte id_of[R];
bool finished[R], success[R];   /* finished_at; status = 'succeeded' */
byte outkey = NONE, outbytes = NONE;    /* what the asset's row names */

/* --- the API --- */
mtype = { UNSENT, FLYING, SETTLED };
mtype post[R]; byte answer[R];  /* 0: none yet; prediction + 1; NONE: lost */
mtype = { RUNS, SUCCEEDED, STOPPED };
byte pn = 0; byte from[K]; mtype is[K]; bool seen[K], old[K];   /* seen: in the listing; old: output gone */
byte flying = 0, unseen = 0, olds = 0;

/* --- the store --- */
byte object[NB];

/* --- the workers --- */
byte alive[2];                  /* each one's id; 0: it is finished */
byte takes = 0, crashes = 0, lost_claims = 0, drains = 0, timeouts = 0;

#define ENDED (status == DONE || status == ERROR || status == CANCELED)
#ifdef RETRY
#define FINAL (ENDED && (status == DONE || retries == 1))
#else
#define FINAL ENDED
#endif
#define MINE (owner == id && status == RUNNING)
#define LOST atomic { id = id + 2; alive[w] = id; goto start }
#define CRASH if :: skip :: atomic { crashes < CRASHES -> crashes++; id = id + 2; alive[w] = id; goto start } fi

inline owned(k, x) {            /* is prediction k in a row? */
  x = false; i = 0;
  do :: i < R -> if :: id_of[i] == k -> x = true; break :: else -> i++ fi :: else -> break od; i = 0
}
inline cancel(k) { if :: is[k] == RUNS -> is[k] = STOPPED :: else fi }
inline may_run(x) {
  x = false; i = 0;
  do :: i < R -> if :: (row[i] == INTENDED || row[i] == BOUGHT || row[i] == SURPLUS) && !finished[i] -> x = true :: else fi; i++
     :: else -> break od; i = 0
}
inline close(how) { assert(!ENDED); status = how; closes++; if :: how != DONE -> refunds++ :: else fi }
inline end_in_sql() {           /* no worker has the job: nothing that is known may be left running */
  i = 0; do :: i < R -> assert(!(row[i] == BOUGHT && !finished[i] && is[id_of[i]] == RUNS)); i++ :: else -> break od; i = 0;
  close(CANCELED)
}
/* What of the listing may be the purchase of row r: the first that is in no row. */
inline find(r, f) {
  f = NONE; k = 0;
  do :: k < pn ->
#ifdef SEED
        if :: seen[k] && from[k] == r ->
#else
        if :: seen[k] && STEP(from[k]) == STEP(r) ->
#endif
              owned(k, b); if :: !b -> f = k; break :: else fi :: else fi; k++
     :: else -> break od; k = 0; b = false
}
/* What had arrived when the look began is not bought again while the listing shows it. */
inline nothing_there(r) {
  if :: key == 1 -> k = 0; do :: k < pn -> owned(k, b); assert(b || from[k] != r || !seen[k]); k++ :: else -> break od; k = 0; b = false
     :: else fi; key = 0
}
inline newest(s, r) {           /* of a step; NONE */
  r = NONE; i = 0; do :: i < NB -> if :: row[s * NB + i] != NOROW -> r = s * NB + i :: else fi; i++ :: else -> break od; i = 0
}

inline there(st, p) {           /* p: the newest purchase of the step, if its output is there; else NONE */
  newest(st, p);
  if :: p != NONE -> if :: row[p] == BOUGHT && success[p] && !old[id_of[p]] :: else -> p = NONE fi :: else fi
}
inline behind(n, st2, p2) {     /* go_behind(): st2 follows the last of the first n steps whose output is there */
  st2 = n; p2 = NONE;
  do :: st2 > 0 -> there((st2 - 1), p2); if :: p2 != NONE -> break :: else -> st2-- fi :: else -> break od
}
inline image_there(st3) {       /* what a step is made of */
  if :: st3 > 0 -> there((st3 - 1), q); assert(q != NONE); q = NONE :: else fi
}

proctype Worker(byte w) {
  byte id = w + 1, s, r, k, i, f, looks, bytes, key, q; bool b;
start:
  atomic { alive[w] = id; s = 0; r = NONE; k = 0; i = 0; f = NONE; looks = 0; bytes = 0; key = 0; q = NONE; b = false }
  do
  :: atomic { status == PENDING -> status = RUNNING; owner = id;
#ifdef CLAIMLOST
       if :: lost_claims < 1 -> lost_claims++; goto start :: skip fi;
#endif
       break }
#ifndef NO_TAKING_UP
  :: atomic { MINE -> break }
#endif
  :: atomic { FINAL -> goto out }
  od;
  CRASH;
  /* job_start(): a later step's prediction that may run, else behind the last output that is there */
  atomic { s = STEPS;
    do :: s > 0 -> s--; newest(s, r);
          if :: r != NONE && (row[r] == INTENDED || row[r] == BOUGHT) && !finished[r] -> break :: else -> r = NONE fi
       :: else -> break od;
    if :: r == NONE ->
#ifdef FIRST_MISSING
          s = 0; do :: there(s, r); if :: r != NONE && s < STEPS - 1 -> s++ :: else -> break fi od;
#else
          behind(STEPS, s, r);
          if :: s == STEPS -> s-- :: else -> r = NONE fi;
#endif
          if :: r == NONE -> k = 0; do :: k < R -> assert(!(k / NB == STEPS - 1 && row[k] == BOUGHT && success[k] && !old[id_of[k]])); k++
                                      :: else -> break od; k = 0 /* what is there is not bought again */
             :: else fi
       :: else fi;
    if :: r == NONE -> skip
       :: r != NONE && row[r] == INTENDED -> goto looking
       :: r != NONE && row[r] == BOUGHT -> goto polling fi }
intend:
  atomic { if :: !MINE -> LOST :: else fi;
    if :: cancel_req -> goto cancelling :: else fi;
    if :: s > 0 -> there((s - 1), q); if :: q == NONE -> goto hand_back :: else -> q = NONE fi :: else fi; /* output_gone */
    newest(s, r); r = (r == NONE -> s * NB : r + 1);
    if :: r == (s + 1) * NB -> goto failing :: else fi;
    row[r] = INTENDED };
  CRASH;
buy:
#ifdef NOTSENT
  if :: atomic { if :: row[r] == INTENDED -> row[r] = OVER; finished[r] = true :: else fi };
        goto hand_back
     :: skip fi;
#endif
  atomic { assert(post[r] == UNSENT); post[r] = FLYING; flying++ };     /* once, whoever it is by now */
  CRASH;
  if
  :: atomic { answer[r] != 0 && answer[r] != NONE -> k = answer[r] - 1 }
  :: atomic { answer[r] == NONE -> goto looking }
#ifdef LATE
  :: goto looking               /* our time-out */
#endif
  fi;
record:
  CRASH;
  atomic {
    owned(k, b);
    if
#ifdef FENCED_RECORD
    :: !MINE -> skip
#endif
    :: b -> skip                                /* written down already: here, or for another purchase */
    :: !b && id_of[r] != NONE -> skip           /* another stands here */
    :: else -> id_of[r] = k;
          if :: row[r] == INTENDED || (row[r] == OVER && MINE) -> row[r] = BOUGHT
             :: row[r] == GIVEN_UP || (row[r] == OVER && !MINE) -> row[r] = SURPLUS fi
    fi;
    if :: id_of[r] == NONE -> owned(k, b); assert(b) :: else fi;        /* what is known is written down */
    b = false };
  if :: row[r] == SURPLUS && id_of[r] == k -> CRASH; atomic { cancel(k) }; LOST
     :: else -> atomic { if :: !MINE -> LOST :: MINE && id_of[r] != k -> goto looking :: else fi } fi;
polling:
  CRASH;
  atomic { k = id_of[r]; if :: cancel_req -> goto stopping :: else fi };
#ifdef HANDBACK
  if :: atomic { drains < 1 -> drains++; goto hand_back } :: skip fi;
#endif
#ifdef TIMEOUT
  if
#ifdef TIMEOUT_ANYWAY
  :: atomic { timeouts < 1 -> timeouts++;
#else
  :: atomic { timeouts < 1 && MINE -> timeouts++;
#endif
       cancel(k); if :: MINE -> row[r] = OVER; finished[r] = true; goto failing :: else -> LOST fi }
  :: skip
  fi;
#endif
  atomic { if :: is[k] == RUNS -> is[k] = SUCCEEDED :: else fi };
  if :: atomic { is[k] == STOPPED ->            /* nobody but the user, or the audit of an ended job, may */
          assert(cancel_req || ENDED || !MINE);
          finished[r] = true; row[r] = OVER; goto hand_back }
     :: else fi;
  CRASH;
  atomic { if :: id_of[r] == k -> finished[r] = true; success[r] = true :: else fi };   /* settle: a fact */
  if :: s < STEPS - 1 -> s++; goto intend :: else fi;
  if :: atomic { old[k] -> row[r] = OVER; goto hand_back } :: atomic { !old[k] -> bytes = k + 1 } fi;
  CRASH;
  atomic { if :: !MINE -> LOST :: else fi;      /* the lease is looked at, then the request leaves */
    key = 0; i = s * NB;
#ifndef SAME_KEY
    do :: i < r ->
#ifdef KEY_BY_USABLE
          if :: success[i] && row[i] == BOUGHT -> key++ :: else fi;
#else
          if :: success[i] -> key++ :: else fi;
#endif
          i++
       :: else -> break od;
#endif
    i = 0 };
  object[key] = bytes;
  CRASH;
  atomic {
#ifndef NO_FENCE
    if :: !MINE -> LOST :: else fi;
#endif
    if :: cancel_req -> goto cancelling :: else fi;
    close(DONE); outkey = key; outbytes = bytes };
  goto start;

looking:
  atomic { b = false; looks = 0; f = NONE };
#ifdef HANDBACK
  if :: atomic { drains < 1 -> drains++; goto hand_back } :: skip fi;
#endif
#ifdef LATE
  skip;
#else
  atomic { post[r] != FLYING -> if :: post[r] == SETTLED -> key = 1 :: else -> key = 0 fi };    /* it was waited long enough */
#endif
#ifndef NO_LOOK
  do
  :: looks < 2 -> atomic { find(r, f); looks++; if :: f != NONE -> k = f; f = NONE; key = 0; goto record :: else fi };
     CRASH
  :: else -> break
  od;
#endif
  atomic { f = NONE; looks = 0;
    if :: !MINE -> LOST :: else fi;
    if :: cancel_req -> key = 0; goto cancelling
       :: !cancel_req && row[r] == BOUGHT -> key = 0; goto polling       /* somebody wrote it down meanwhile */
       :: else ->
          if :: r + 1 == (s + 1) * NB -> goto failing           /* purchase_unknown: it stays intended */
             :: else -> nothing_there(r);
                if :: row[r] == INTENDED -> row[r] = GIVEN_UP :: else fi;
#ifdef IMAGELESS
                r++;
#else
                behind(s, k, q); q = NONE; s = k; k = 0;        /* job_previous_step() */
                newest(s, r); r = (r == NONE -> s * NB : r + 1);
                if :: r == (s + 1) * NB -> goto failing :: else fi;
#endif
                image_there(s); assert(row[r] == NOROW); row[r] = INTENDED; goto buy fi
    fi };

hand_back:
  atomic { if :: !MINE -> LOST :: else fi;
    may_run(b);
    if :: cancel_req && !b -> end_in_sql() :: else -> status = PENDING; owner = 0 fi; b = false };
  goto start;

stopping:                       /* f: what has to be cancelled before the job is closed */
  atomic { f = k };
#ifndef CLOSE_FIRST
  if :: atomic { cancel(k) }; CRASH; atomic { finished[r] = true; row[r] = OVER }
#ifdef STOPFAIL
     :: atomic { f = NONE }     /* tried eight times: the audit's */
#endif
  fi;
#endif
cancelling:
  CRASH;
  atomic { if :: !MINE -> LOST :: else -> assert(f == NONE || is[f] != RUNS); close(CANCELED) fi };
  goto start;
failing:
  CRASH;
  atomic { if :: !MINE -> LOST :: else -> close(ERROR) fi };
  goto start;
out: alive[w] = 0
}

/* Any worker declares another dead: rightly, or TAKES times one that lives. */
proctype Reaper() {
  do
  :: atomic { status == RUNNING && owner != alive[0] && owner != alive[1] -> status = PENDING; owner = 0 }
  :: atomic { status == RUNNING && takes < TAKES -> takes++; status = PENDING; owner = 0 }
  :: atomic { FINAL -> break }
  od
}

proctype Api() {
  byte r, q;
  do
  :: atomic { flying > 0 ->
       r = 0; do :: post[r] == FLYING -> if :: break :: flying > 1 && r < R - 1 -> r++ fi :: post[r] != FLYING && r < R - 1 -> r++ :: else -> break od;
       if :: post[r] == FLYING -> post[r] = SETTLED; flying--;
             if :: pn < K -> from[pn] = r; is[pn] = RUNS; pn++;
#ifdef LATE
                   unseen++;
#else
                   seen[pn - 1] = true;
#endif
                   if :: answer[r] = pn :: answer[r] = NONE fi
                :: answer[r] = NONE             /* it never arrived, which the sender can't know */
             fi
          :: else fi; r = 0 }
#ifdef LATE
  :: atomic { unseen > 0 -> q = 0; do :: q < pn && seen[q] -> q++ :: else -> break od; seen[q] = true; unseen--; q = 0 }
#endif
#ifdef EXPIRE
  :: atomic { olds < 1 && pn > 0 && is[0] == SUCCEEDED && !old[0] && !ENDED -> old[0] = true; olds++ }
#endif
  :: atomic { FINAL && alive[0] == 0 && alive[1] == 0 && flying == 0 && unseen == 0 -> break }
  od
}

proctype User() {
  byte i; bool b;
#ifdef CANCEL
  if
  :: atomic { status == PENDING -> may_run(b);
#ifdef CANCEL_PENDING
       b = false;
#endif
       if :: b -> cancel_req = true :: else -> end_in_sql() fi; b = false }
  :: atomic { status == RUNNING -> cancel_req = true }
  :: ENDED
  fi;
#endif
#ifdef DELETE
  if :: atomic { !ENDED -> status = CANCELED; closes++; refunds++ } :: ENDED fi;
#endif
#ifdef RETRY
  if :: atomic { (status == ERROR || status == CANCELED) && retries == 0 -> retries = 1;
          if :: skip
             :: status = PENDING; owner = 0; cancel_req = false; closes--; refunds--;
#ifndef RETRY_POLLS
                i = 0; do :: i < R -> if :: row[i] == BOUGHT && !finished[i] -> row[i] = SURPLUS :: else fi; i++ :: else -> break od; i = 0
#endif
          fi }
     :: status == DONE fi;
#endif
}

#define IS_LOST(r) (row[r] == GIVEN_UP || (row[r] == INTENDED && ENDED))
#define NOBODYS(r) (id_of[r] != NONE && !finished[r] && (row[r] == SURPLUS || ENDED))
/* May another purchase, that a job is about to know, be the one? */
inline contested(r, b) {
  b = false;
#ifndef SEED
  i = 0; do :: i < R -> if :: i != r && STEP(i) == STEP(r) && row[i] == INTENDED && !ENDED -> b = true :: else fi; i++ :: else -> break od; i = 0
#endif
}
inline adopt(r, k) {            /* meshify.found_surplus() */
  owned(k, b);
  if :: !b && IS_LOST(r) && id_of[r] == NONE -> contested(r, b);
        if :: !b -> row[r] = SURPLUS; id_of[r] = k :: else fi
     :: else fi; b = false
}

/* Once in the midst of it, step by step; and when all is quiet, to its end. */
proctype Audit() {
  byte r, k, i, f; bool b;
  if
  :: atomic { pn > 0 -> f = NONE; r = 0;
       do :: r < R -> if :: IS_LOST(r) && id_of[r] == NONE -> find(r, f); if :: f != NONE -> break :: else -> r++ fi :: else -> r++ fi :: else -> break od };
     if :: f != NONE -> atomic { adopt(r, f) }; if :: atomic { id_of[r] == f && row[r] == SURPLUS -> cancel(f) } :: else fi; f = NONE :: else fi;
#ifndef AUDIT_LISTS_ONLY
     atomic { r = 0; do :: r < R -> if :: NOBODYS(r) -> break :: else -> r++ fi :: else -> break od };
     if :: r < R -> atomic { cancel(id_of[r]) }; atomic { finished[r] = true } :: else fi;
#endif
  :: skip
  fi;
  atomic { FINAL && alive[0] == 0 && alive[1] == 0 && flying == 0 && unseen == 0 ->
    r = 0;
    do :: r < R ->
          if :: IS_LOST(r) && id_of[r] == NONE -> find(r, f); if :: f != NONE -> adopt(r, f); cancel(f) :: else fi :: else fi;
#ifndef AUDIT_LISTS_ONLY
          if :: NOBODYS(r) -> cancel(id_of[r]); finished[r] = true :: else fi;
#endif
          r++
       :: else -> break od }
}

proctype Check() {
  byte k, i, s, c; bool b;
  (timeout);                    /* nothing else can move */
  d_step {
    assert(ENDED && alive[0] == 0 && alive[1] == 0);            /* no job is lost or stuck */
    assert(closes == 1);
    assert(refunds == (status == DONE -> 0 : 1));
    k = 0;
    do :: k < pn -> owned(k, b);
          assert(b);                                            /* every purchase is written down */
          assert(is[k] != RUNS);                                /* and none goes on for nobody */
          k++
       :: else -> break od;
    s = 0;
    do :: s < STEPS -> c = 0; i = 0;
          do :: i < NB -> if :: row[s * NB + i] == BOUGHT && success[s * NB + i] && !old[id_of[s * NB + i]] -> c++ :: else fi; i++ :: else -> break od;
          assert(c <= 1);                                       /* at most one of a step is used */
          s++
       :: else -> break od;
    if :: status == DONE -> assert(object[outkey] == outbytes) :: else fi       /* the file is the row's */
  }
}

init {
  byte x = 0;
  atomic {
    do :: x < R -> row[x] = NOROW; id_of[x] = NONE; post[x] = UNSENT; x++ :: else -> break od;
    x = 0; do :: x < K -> is[x] = RUNS; x++ :: else -> break od;
    alive[0] = 1; alive[1] = 2;
    run Worker(0); run Worker(1); run Reaper(); run Api(); run User();
#ifndef NO_AUDIT
    run Audit();
#endif
    run Check()
  }
}
