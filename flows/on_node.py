"""`python -m flows.on_node CANDIDATE`: in a clone on another machine, train and score a candidate and push the results."""

import sys

from flows import clones
from flows.versioned import StageError
from segmodels.processes import die_with_parent


def main() -> int:
    """Exit codes: 0 done, 1 a stage failed, 2 a mistake in the input."""
    die_with_parent()
    candidate = sys.argv[1]
    try:
        clones.make_here(candidate)
    except StageError as error:
        print(str(error), file=sys.stderr, flush=True)
        return 2 if error.mistake else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
