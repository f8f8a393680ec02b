"""Programs that take turns epoch by epoch on one machine, so that whatever else runs there slows all of them.

Each is a process that `wait`s for its turn before every epoch and `tell`s after it; the one that compares them has `Side`s.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def tell(report: dict[str, Any]) -> None:
    """From a side to the one that compares."""
    print(json.dumps(report), flush=True)


def wait() -> None:
    """Until it is this side's turn."""
    if not sys.stdin.readline():
        sys.exit("the one that compares has ended")


class Side:
    """One of the programs, as the one that compares sees it."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def go(self) -> dict[str, Any]:
        """Give it its turn, and wait for its report."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.next()

    def next(self) -> dict[str, Any]:
        """Its next report; other lines that it prints are passed over."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                report: dict[str, Any] = json.loads(line)
                return report
        sys.exit(f"{self.process.args!r} ended with {self.process.wait()}")

    def end(self) -> None:
        """Wait until it has ended by itself."""
        self.process.wait()
