"""Mount namespaces of their own, for root and where unprivileged users may."""

import os
import subprocess


def in_namespace(script, *args):
    """A wrapper that runs `script` (with `args` as $1, $2 …) in a mount namespace of its own and then the program; None
    where we may not."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        return None
    return [*unshare, "sh", "-ec", f'{script}\nshift {len(args)}\nexec "$@"', "sh", *args]
