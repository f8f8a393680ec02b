"""What a person can mend. Anything else that is raised is a fault of the program."""

from collections.abc import Sequence


def legible(text: str) -> str:
    """A text with names of files in it that need not be text in UTF-8: their other bytes as `\\udcff`, so that it can be printed."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class InputError(ValueError):
    """Something given to segmodels is wrong; the message names the value, what was expected and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(legible(message))


class ParamsError(InputError):
    """A key or value of params.yaml is wrong."""


class DatasetError(InputError):
    """A dataset cannot be used as it is. Lists every problem found, not only the first, each as `file: fault; remedy`."""

    SHOWN = 20

    def __init__(self, summary: str, problems: Sequence[str] = ()) -> None:
        self.summary, self.problems = legible(summary), [legible(one) for one in problems]
        lines = [self.summary, *(f"  - {problem}" for problem in self.problems[: self.SHOWN])]
        if len(self.problems) > self.SHOWN:
            lines.append(f"  ... and {len(self.problems) - self.SHOWN} more")
        super().__init__("\n".join(lines))


class BundleError(InputError):
    """A bundle is incomplete, damaged or not a bundle."""


class TrainingError(InputError):
    """A training cannot go on with what it was given, e.g. the loss became NaN."""
