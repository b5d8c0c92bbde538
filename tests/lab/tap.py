"""What a test program says, in TAP, and how its functions are run."""

import os
import re
import sys
import traceback

from .process import end_all

_count = 0
_failed = 0
_tests = []
_wanted = os.environ.get("CASE", "")
_found = not _wanted


def ok(condition, what, detail=""):
    global _count, _failed
    _count += 1
    if condition:
        print(f"ok {_count} - {what}", flush=True)
    else:
        _failed += 1
        print(f"not ok {_count} - {what}", flush=True)
        for line in [f"FAILED {what}", *str(detail).splitlines()]: # where prove shows it
            print(f"# {line[:2000]}", file=sys.stderr, flush=True)
    return bool(condition)


def is_(got, expected, what):
    return ok(got == expected, what, f"got      {got!r}\nexpected {expected!r}")


def test(function):
    """Marks a function that main() runs."""
    _tests.append(function)
    return function


def cases(table, name=lambda case: case[0]):
    """The rows of a table; with CASE, a pattern, those whose `name(row)` it finds."""
    global _found
    wanted = [case for case in table if re.search(_wanted, name(case))]
    _found = _found or bool(wanted)
    return wanted


def main():
    """Runs the functions marked as tests, in their order, or those that the command line names; one that raises has
    failed."""
    named = [t for t in _tests if t.__name__ in sys.argv[1:]]
    for test_ in named or _tests: # those that other files have may be named, too: see `prove … ::`
        name = test_.__name__.replace("_", " ")
        print(f"# {name}", flush=True)
        try:
            test_()
        except Exception:  # pylint: disable=broad-except
            ok(False, name, traceback.format_exc())
        said = end_all()
        ok(not said, f"{name}: everything ended cleanly", "\n".join(said[:40]))
    if not _found:
        ok(False, f"no case is called {_wanted}")
    print(f"1..{_count}", flush=True)
    sys.exit(1 if _failed else 0)
