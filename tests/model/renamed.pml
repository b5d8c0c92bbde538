/*
 * Two instances with different configurations: each calls the step by another name. One job, kills and take-overs.
 * LAST: the step is the last one, whose prediction is the mesh, whatever the step is called. Otherwise it is a step
 * that the other instance's configuration does not have: what runs for it is cancelled, and bought by the own name.
 *
 * Rules, each left out by a mutant:
 *  BY_NAME       a purchase of the last step is looked for by the step's name
 *  LEFT_RUNNING  what was bought for a step that is gone is not cancelled
 */
#define NONE 255
#ifndef KILLS
#define KILLS 3
#endif
#define R (KILLS + 1)

mtype = { PENDING, RUNNING, DONE };
mtype status = PENDING;
byte owner = NONE, kills = 0, n = 0, attempts = 0;
mtype = { RUNS, SUCCEEDED, STOPPED };
mtype is[R];
byte name[R];

proctype Worker(byte w) {
  byte r, i;
start:
  atomic { r = NONE; i = 0 };
  do
  :: atomic { status == PENDING -> status = RUNNING; owner = w; attempts++; break }
  :: atomic { status == DONE -> goto out }
  od;
  atomic { i = 0;               /* job_start(): a live purchase */
    do
    :: i < n ->
#if defined(LAST) && !defined(BY_NAME)
       if :: is[i] == RUNS || is[i] == SUCCEEDED -> r = i :: else fi;
#else
       if :: (is[i] == RUNS || is[i] == SUCCEEDED) && name[i] == w -> r = i :: else fi;
#endif
       i++
    :: else -> break
    od; i = 0 };
#ifndef LAST
#ifndef LEFT_RUNNING
  atomic { i = 0; do :: i < n -> if :: name[i] != w && is[i] != STOPPED -> is[i] = STOPPED :: else fi; i++ :: else -> break od; i = 0 };
#endif
#endif
  if :: atomic { kills < KILLS -> kills++; status = PENDING; owner = NONE }; goto start :: skip fi;
  if
  :: r == NONE -> atomic { r = n; n++; name[r] = w; is[r] = RUNS; i = 0;
       do :: i < r -> assert(is[i] == STOPPED); i++ :: else -> break od; i = 0 }        /* nothing else of the job is paid for nothing */
  :: else
  fi;
  if :: atomic { kills < KILLS -> kills++; status = PENDING; owner = NONE }; goto start :: skip fi;
  atomic { if :: is[r] == RUNS -> is[r] = SUCCEEDED :: else fi };
  if :: atomic { kills < KILLS -> kills++; status = PENDING; owner = NONE }; goto start :: skip fi;
  atomic { status = DONE };
out: skip
}

proctype Check() {
  byte i = 0;
  (timeout);
  d_step {
    assert(status == DONE);
    do :: i < n -> assert(is[i] != RUNS); i++ :: else -> break od;
#ifdef LAST
    assert(n == 1);
#else
    assert(n <= attempts);
#endif
  }
}

init { atomic { run Worker(0); run Worker(1); run Check() } }
