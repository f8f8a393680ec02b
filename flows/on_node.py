"""In a clone on another machine: train and score the candidate that is the only argument, and push the results."""

import sys

from flows import clones
from flows.versioned import StageError


def main() -> int:
    """Exit codes: 0 done, 1 a stage failed, 2 a mistake in the input."""
    candidate = sys.argv[1]
    try:
        clones.make_here(candidate)
    except StageError as error:
        print(str(error), file=sys.stderr, flush=True)
        return 2 if error.mistake else 1
    return 0
