#!/usr/bin/python3
"""What poolers refuse."""

import re

from lab import IMAGE, Lab, is_, main, ok, test, wait_for
from lab.bouncer import Bouncer
from lab.postgres import SUPERUSER


@test
def no_session_without_a_time_out():
    """A role's statement_timeout ends what begins each transaction, and the pooler takes no wish for a session without one: it
    is not asked for again, so that the daemon is back once the role lets it."""
    lab = Lab(bouncer="")
    lab.sim.config(starting_ms=0, processing_ms=50)
    # With the latter, what begins a transaction reads more than one millisecond lets it.
    lab.postgres.execute("ALTER ROLE meshifyd SET statement_timeout = '1ms'; ALTER ROLE meshifyd SET default_transaction_read_only = on", SUPERUSER)
    bouncer = Bouncer(lab.postgres)
    daemon = lab.daemon(wait=False, **{"database.url": bouncer.url(), "database.listen": "off"})
    daemon.wait_event("DB_DOWN", text=r"ALTER ROLE \.\.\. RESET statement_timeout")
    refused = lambda: len(re.findall(r"pooler error: unsupported startup parameter(: options| in options: statement_timeout)", bouncer.log()))
    wait_for(lambda: refused() > 0, 30, "a login that asks for no time-out")
    ok(True, "a session without a time-out is asked for, and refused")
    tries = bouncer.log().count("login attempt")
    wait_for(lambda: bouncer.log().count("login attempt") >= tries + 3, 120, "more tries")
    is_(refused(), 1, "then it is tried without that wish")
    lab.postgres.execute("ALTER ROLE meshifyd RESET statement_timeout; "
                         "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'meshifyd'", SUPERUSER)
    daemon.wait_event("DB_UP", seconds=60)
    job, _ = lab.insert_job("a chair", IMAGE)
    lab.wait_status(job, "done")
    ok(True, "without the role's time-out it works")
    is_(daemon.stop(), 0, "and it ends as it should")
    lab.sim.stop()


main()
