/* One id for each kind of event; each has its entry in systemd/meshify.catalog. */
#pragma once
#define MSG_STARTED "dd802265a7aa42938b4729d16a5776f4"     /* meshifyd has started */
#define MSG_STOPPING "b86987facf5949cebc3541a632a10189"    /* meshifyd stops */
#define MSG_STOPPED "1673361a3d9d431fa72657c6bc5d37f3"     /* meshifyd has stopped */
#define MSG_DUMP "45f6dfdbc48c4acc843e3ba9a61cdc4e"        /* the state was asked for (SIGUSR1) */
#define MSG_DB_UP "940d0480937b4564a84338f65ca34f3f"       /* the database is connected */
#define MSG_DB_DOWN "deefc45d713548b1b45bcf4034e42aef"     /* no database connection */
#define MSG_DB_REFUSED "b8253c00852a46b484d3e1a6293d2043"  /* the database refuses a call of ours */
#define MSG_DB_SAYS "9946312f492d492aa8ecf963cdca2cbf"     /* a warning of the database */
#define MSG_LISTEN_UP "893a2cae8c024a69a2fea60ba3235839"   /* wake-ups work */
#define MSG_LISTEN_DOWN "07f97d53dbd54f78a7212c848de3d61d" /* wake-ups do not work, polling */
#define MSG_LEASE_LOST \
    "18299479f650408b85108114570bd148" /* the lease is lost, all jobs are dropped */
#define MSG_LEASE_SUSPENDED "bd475b6d29024ade9bc00c50318f9ddf" /* no heartbeat, holding still */
#define MSG_TAKEOVER "9f0165461f014f98940680ca580aae0d"  /* jobs of a dead worker were taken over */
#define MSG_LANE_HELD "915797388ea04e6a9cbec65cf2e41db7" /* a lane is held */
#define MSG_LANE_OPEN "9857ca32e8544d9b96da72f85aae902a" /* a lane is open again */
#define MSG_SPOOL_WAITS "287b67ca258c4e359e69ddf0281136eb" /* downloads wait for room */
#define MSG_JOB_CLAIMED "244442ee49bd40b0bf33b1d5a66fca70" /* a job was claimed */
#define MSG_JOB_MOVED "7609262b948a42ecb1096d576b219857"   /* a job moved on */
#define MSG_JOB_WAITS "28068cf7701d4ac8aafe84000b22ed39"   /* a job waits for long */
#define MSG_JOB_BOUGHT "8e487405e0d7444e82b37f30991d06e8"  /* a prediction was bought */
#define MSG_JOB_UNSURE "cb34ad6262d1448a91f0e219351e9d50"  /* the answer to a purchase is lost */
#define MSG_JOB_ADOPTED \
    "bacca8076d0c4d609de0e1b08a435afd" /* a prediction whose answer was lost was found */
#define MSG_JOB_SURPLUS \
    "70210df027cb4cb488c54df6b632c438" /* a prediction that no job uses is canceled */
#define MSG_CANCEL_FAILED \
    "8a9c27bfb7f94913a8a06e724e2fbd17" /* a prediction that no job uses still runs */
#define MSG_AUDIT_FAILED "e0c60af34d75461ab4a45b48c0ede823" /* an audit could not be done */
#define MSG_JOB_STORED "284b3d5e8a594ac69c127fa1ce353a6e"   /* a mesh was stored */
#define MSG_JOB_LEFT_BEHIND \
    "895169e818454500bb22a93eb6ceddb3" /* an object that no row names stays in the store */
#define MSG_ORPHAN \
    "2c63c21b6645467ea48697cb20086127" /* an object that no row names is removed, or can't be */
#define MSG_JOB_RETRY "77b733d300724f6f8b3667f7a531036c"    /* a job is requeued */
#define MSG_JOB_DONE "febc0b64071f41d7aaeed19f8f715f74"     /* a job is done */
#define MSG_JOB_FAILED "256637ddf9c44204adbecc59d1e7b1e4"   /* a job has failed */
#define MSG_JOB_CANCELED "aa79d34e0f4e4c57bbaa61982bca96ee" /* a job was canceled */
#define MSG_JOB_PARKED \
    "9025d116515d400f80e41347d511b925" /* a closing was refused, and is tried again */
#define MSG_JOB_LOST "e9a5dfe3f12946b2b0fd0e6bb223cbff"     /* a job is another worker's now */
#define MSG_JOB_BUG "75760d0bd9a544138f65c597f4550e35"      /* a move that the grid does not know */
#define MSG_METRICS_UP "ecc5fa4e410848ff9e3c8dd28dfd9380"   /* metrics are served */
#define MSG_METRICS_DOWN "916ad0a1e7344901b85fb7e633434e80" /* metrics can't be served */
#define MSG_CONFIG "44939a55d2524063b0c937dae4a69bf4"       /* something about the configuration */
#define MSG_INTERNAL "6d2d1922b1f641bb92f15d38cc45defe"     /* something of ours failed */
#define MSG_LOG_LOST "761a489c923244a89d83b4a29bbae021"     /* lines of the log were lost */
