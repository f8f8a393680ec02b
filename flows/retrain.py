"""`make retrain`: runs the flow of retraining.py where something has changed, and says what came out.

On the servers of `make up` if they run, else on a temporary Prefect server unless PREFECT_API_URL names one. Nothing changed: a few
seconds. The demo: see the README.
"""

import sys
from pathlib import Path

from flows import notifications, versioned
from flows.stage_graph import RetrainError
from flows.standing import Decision, read_leaderboard, unchanged
from flows.versioned import StageError
from segmodels import console, locks, params, processes
from segmodels.errors import InputError
from segmodels.params import Params
from segmodels.project import AUGMENTED, BUNDLES, FACTS, FORKS, LOCKS, PARAMS, REPORTS


def main() -> int:
    """`make retrain`. Exit codes: 0 done, or nothing to do; 1 a stage failed; 2 a mistake in the input."""
    with console.explained():
        try:
            outcome = retrain_once(params.read(PARAMS), started="by hand")
        except (RetrainError, StageError) as error:
            console.error(str(error))
            return 1
        show(outcome)
    return 0


def retrain_once(settings: Params, *, started: str) -> str:
    """Retrain if something has changed, when no other retraining runs in this folder; returns what came out, in a sentence.

    Whoever wants to know is told, of what came out and of what failed.

    Raises:
        RetrainError, StageError: stages failed.
        InputError: params.yaml or the dataset is not to be used as it is.
    """
    with locks.held(LOCKS / "retrain", on_wait=lambda: console.say("another retraining runs in this folder; waiting for it")):
        try:
            versioned.forget_ended()
            decision = unchanged(settings)
            outcome = "nothing has changed, nothing to do: {}"
            if decision is None:
                decision = _retrained(settings, started)
                became = "is the champion" if decision.outcome == "promote" else "is registered, and not made champion"
                outcome = f"models:/{settings.project}/{decision.version} {became}: {{}}"
        except (RetrainError, StageError, InputError) as error:
            notifications.failed(settings, str(error), started=started)
            raise
        notifications.decided(settings, decision, started=started)
    return outcome.format(decision.reason)


def _retrained(settings: Params, started: str) -> Decision:
    from flows import retraining, temporary_server
    from segmodels import fork_server, preflight

    with fork_server.running(FORKS, retraining.PRELOADED, retraining.share_of_cores(settings)):
        preflight.check(settings)
        console.say(params.to_yaml(settings))
        temporary_server.start_if_needed()
        return retraining.retrain(started)


def show(outcome: str) -> None:
    """Print the leaderboard, the outcome, and where to look further."""
    leaderboard = read_leaderboard()
    best = leaderboard["chosen"]
    program = Path(sys.executable).with_name("segmodels")
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    console.leaderboard(leaderboard)
    console.say(outcome)
    console.say("")
    for command, purpose in (
        ("make dashboard", "which candidate is best, why, and what it gets wrong, in a browser"),
        (f"{program} predict <image> --bundle {BUNDLES / best}", "masks of your own images, in predictions/"),
        ("make data SOURCE=<folder> && make retrain", "your own dataset"),
    ):
        console.say(f"  {command:<60} {purpose}")
    shown = (
        REPORTS / "leaderboard.png",
        REPORTS / "pareto.png",
        REPORTS / best / "*.png",
        FACTS / "census.png",
        AUGMENTED / "*" / "preview.png",
    )
    console.say(f"  pictures: {', '.join(map(str, shown))}")


if __name__ == "__main__":
    with processes.ending_soon():
        sys.exit(main())
