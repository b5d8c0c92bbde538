/*
 * Purchases in a database whose standby is behind: what was committed last is lost with the primary, and numbers of a
 * sequence are given again. Two buyers, each with a job of another user; one fail-over.
 *
 * Rules, each left out by a mutant:
 *  SEQUENCE  the key is a number that the database gives, and a fact is written where the key says
 *  ROWLESS   a fact that finds no row of its own is dropped
 */
#define NONE 255
#define KEYS 7

/* The primary's rows and sequence, and what the standby has of them. */
bool there[KEYS], s_there[KEYS];
byte job[KEYS], s_job[KEYS], pred[KEYS], s_pred[KEYS], next = 0, s_next = 0;
byte fresh = 0, failovers = 0, ended = 0;

/* The API. */
mtype = { RUNS, USED, STOPPED };
byte pn = 0, from[KEYS];
mtype is[KEYS];

#ifdef SEQUENCE
#define OWN(k, j) true
#else
#define OWN(k, j) (job[k] == j)
#endif

inline key(k) {
#ifdef SEQUENCE
  k = next; next++
#else
  k = fresh; fresh++            /* a uuid, which no fail-over takes back */
#endif
}
inline surplus(p) {             /* written down and cancelled */
#ifndef ROWLESS
  is[p] = STOPPED
#else
  skip
#endif
}

proctype Buyer(byte j) {
  byte k, p;
again:
  atomic { key(k); there[k] = true; job[k] = j; pred[k] = NONE };       /* intend */
  atomic { p = pn; pn++; from[p] = j; is[p] = RUNS };                   /* the POST */
record:
  atomic { if :: there[k] && OWN(k, j) && pred[k] == NONE -> pred[k] = p
              :: there[k] && OWN(k, j) && pred[k] != NONE -> if :: pred[k] != p -> surplus(p) :: else fi /* taken: what the row names is polled */
              :: else -> surplus(p); goto again fi };
  atomic { if :: there[k] && OWN(k, j) && pred[k] != NONE -> assert(from[pred[k]] == j); is[pred[k]] = USED /* settle, close */
              :: there[k] && OWN(k, j) && pred[k] == NONE -> goto record /* the standby knew the intent only */
              :: else -> surplus(p); goto again fi };
  ended++
}

proctype Standby() {
  byte i;
  do
  :: atomic { ended < 2 && failovers == 0 -> i = 0; s_next = next;
       do :: i < KEYS -> s_there[i] = there[i]; s_job[i] = job[i]; s_pred[i] = pred[i]; i++ :: else -> break od; i = 0 }
  :: atomic { ended < 2 && failovers == 0 -> failovers = 1; i = 0; next = s_next;
       do :: i < KEYS -> there[i] = s_there[i]; job[i] = s_job[i]; pred[i] = s_pred[i]; i++ :: else -> break od; i = 0 }
  :: atomic { ended == 2 || failovers == 1 -> break }
  od
}

proctype Check() {
  byte i = 0;
  (timeout);
  d_step {
    assert(ended == 2);
    do :: i < pn -> assert(is[i] != RUNS); i++ :: else -> break od      /* none goes on for nobody */
  }
}

init { atomic { run Buyer(0); run Buyer(1); run Standby(); run Check() } }
