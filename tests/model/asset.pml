/*
 * Two jobs of one asset, which was paid for once: the credits go back when the last of them ends without a mesh, and the
 * file that the asset's row names holds the bytes that the row means. An operator may try an ended job again, once.
 *
 * Rules, each left out by a mutant:
 *  FIRST_REFUNDS  the first that ends without a mesh gives the credits back
 *  RETRY_FREE     a retry does not take them again
 *  SAME_NAME      the name does not count over the jobs of the asset
 */
#define NONE 255

mtype = { OPEN, DONE, FAILED };
mtype status[2];
bool made = false;
byte given = 0, taken = 0, retries = 0, names = 0;
byte path = NONE, bytes = NONE, object[4];

#ifdef FIRST_REFUNDS
#define IS_LAST(j) true
#else
#define IS_LAST(j) (status[1 - j] != OPEN)
#endif

inline refund(j) {              /* meshify.refund(), in the transaction that ends the job */
  if :: !made && given == taken && IS_LAST(j) -> given++
     :: else fi
}

proctype Job(byte j) {
  byte name;
begin:
  if
  :: skip
  :: atomic { status[j] = FAILED; refund(j) }; goto ended
  fi;
  atomic {                      /* meshify.storing() */
#ifdef SAME_NAME
    name = 0
#else
    name = names; names++
#endif
  };
  object[name] = j + 1;         /* the upload */
  if
  :: atomic { status[j] = DONE; made = true; path = name; bytes = j + 1 }
  :: atomic { status[j] = FAILED; refund(j) }
  fi;
ended:
  if
  :: atomic { status[j] == FAILED && !made && retries == 0 -> retries++; status[j] = OPEN;
#ifndef RETRY_FREE
       if :: given > taken -> taken++ :: else fi
#endif
     }; goto begin
  :: skip
  fi
}

proctype Check() {
  (timeout);
  d_step {
    assert(status[0] != OPEN && status[1] != OPEN);
    assert(given - taken == (made -> 0 : 1));                   /* given back if and only if there is no mesh */
    if :: made -> assert(object[path] == bytes) :: else fi      /* the file is the row's */
  }
}

init { atomic { status[0] = OPEN; status[1] = OPEN; run Job(0); run Job(1); run Check() } }
