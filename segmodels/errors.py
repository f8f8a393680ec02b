"""What a person can mend. Anything else that is raised is a fault of the program."""

from collections.abc import Sequence


class InputError(ValueError):
    """Something given to segmodels is wrong; the message names the value, what was expected and the remedy."""


class ParamsError(InputError):
    """A key or value of params.yaml is wrong."""


class DatasetError(InputError):
    """A dataset cannot be used as it is. Lists every problem found, not only the first, each as `file: fault; remedy`."""

    SHOWN = 20

    def __init__(self, summary: str, problems: Sequence[str] = ()) -> None:
        self.summary, self.problems = summary, list(problems)
        lines = [summary, *(f"  - {problem}" for problem in self.problems[: self.SHOWN])]
        if len(self.problems) > self.SHOWN:
            lines.append(f"  ... and {len(self.problems) - self.SHOWN} more")
        super().__init__("\n".join(lines))


class BundleError(InputError):
    """A bundle is incomplete, damaged or not a bundle."""


class TrainingError(InputError):
    """A training cannot go on with what it was given, e.g. the loss became NaN."""
