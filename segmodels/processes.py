"""Processes that belong together end together."""

import ctypes
import signal
import sys


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however it ends (Linux only: PR_SET_PDEATHSIG).

    A training must not outlive a killed `dvc`, nor a `dvc` a killed flow: the next one would run beside it. Elsewhere the lock on the
    checkpoints makes the next training wait.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
