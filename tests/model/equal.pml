/*
 * Two jobs whose inputs are equal, on a model without seed: purchase j belongs to job j, which may find
 * what the other bought. A third row, with the same input, was given up: for its sake the audit looks too.
 *
 * Rules, each left out by a mutant:
 *  NO_UNIQUE     an id may stand in two rows
 *  TAKEN_FAILS   whose id is taken fails, instead of looking again
 *  AUDIT_GREEDY  the audit takes what a job is about to know
 */
#define K 4
#define NONE 255
#define LOST 2                  /* the row that was given up */
byte pn = 0; bool stopped[K];
byte id_of[3];                  /* rows 0 and 1 are the jobs'; LOST is the audit's */
mtype = { RUNS, DONE, CANCELED, FAILED }; mtype status[2]; byte buys[2];
bool known[2];                  /* its row is not 'intended' any more */
byte answer[2]; bool flying[2];
#ifdef AUDIT_GREEDY
#define CONTESTED false
#else                           /* a job is about to know what it bought */
#define CONTESTED ((status[0] == RUNS && !known[0]) || (status[1] == RUNS && !known[1]))
#endif
#define FREE(k) (id_of[0] != k && id_of[1] != k && id_of[LOST] != k)

proctype Job(byte j) {
  byte k, f, looks;
buy:
  atomic { buys[j]++; flying[j] = true; answer[j] = 0 };
  if
  :: atomic { answer[j] > 0 && answer[j] != NONE -> k = answer[j] - 1 }
  :: atomic { answer[j] == NONE -> goto looking }
  fi;
record:
  atomic {
#ifdef NO_UNIQUE
    id_of[j] = k; known[j] = true
#else
    if :: FREE(k) -> id_of[j] = k; known[j] = true
       :: else -> assert(id_of[LOST] != k);     /* the audit takes nothing from a job */
#ifdef TAKEN_FAILS
          goto failing
#else
          goto looking
#endif
    fi
#endif
  };
  atomic { assert(!stopped[id_of[j]]) };        /* nobody's cancel hits what a job waits for */
  if
  :: j == 1 -> atomic { stopped[id_of[j]] = true; status[j] = CANCELED }        /* its user has asked */
  :: atomic { assert(!stopped[id_of[j]]); status[j] = DONE }
  fi;
  goto out;
looking:
  looks = 0;
  do
  :: looks < 2 ->
     atomic { f = NONE; k = 0; do :: k < pn -> if :: FREE(k) -> f = k; break :: else fi; k++ :: else -> break od; k = f; looks++ };
     if :: f != NONE -> goto record :: else fi
  :: else -> break
  od;
  if :: buys[j] < 2 -> goto buy :: else fi;
failing:
  atomic { status[j] = FAILED; known[j] = true };
out: skip
}

inline arrives(j) {
  flying[j] = false;
  if :: pn < K -> pn++; if :: answer[j] = pn :: answer[j] = NONE fi
     :: answer[j] = NONE fi
}
proctype Api() {
  do
  :: atomic { flying[0] -> arrives(0) }
  :: atomic { flying[1] -> arrives(1) }
  :: atomic { status[0] != RUNS && status[1] != RUNS -> break }
  od
}

/* Row LOST is given up: what the listing shows may be its. Listing, writing down and cancelling are steps
 * of their own. Once in the midst of it, and when all is quiet. */
proctype Audit() {
  byte k, f, turn;
  do
  :: turn == 0 || (turn == 1 && status[0] != RUNS && status[1] != RUNS) ->
     atomic { turn++; f = NONE; k = 0; do :: k < pn -> if :: FREE(k) -> f = k :: else fi; k++ :: else -> break od };
     atomic {
       if :: f != NONE && id_of[LOST] == NONE && FREE(f) && !CONTESTED -> id_of[LOST] = f
          :: else -> f = NONE fi };
     atomic { if :: f != NONE -> stopped[f] = true :: else fi }
  :: turn == 2 -> break
  od
}

proctype Check() {
  (timeout);
  d_step {
    assert(status[0] != RUNS && status[1] != RUNS);
    assert(id_of[0] == NONE || id_of[0] != id_of[1]);                   /* no two jobs on one prediction */
    assert(status[0] != FAILED || buys[0] == 2); assert(status[1] != FAILED || buys[1] == 2);
    assert(!(status[0] == DONE && stopped[id_of[0]])); assert(!(status[1] == DONE && stopped[id_of[1]]))
  }
}

init {
  atomic {
    id_of[0] = NONE; id_of[1] = NONE; id_of[LOST] = NONE; status[0] = RUNS; status[1] = RUNS;
    if :: pn = 1 :: skip fi;    /* what row LOST bought, and nobody knows of */
    run Job(0); run Job(1); run Api(); run Audit(); run Check()
  }
}
