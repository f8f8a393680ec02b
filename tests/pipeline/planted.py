"""Bugs of recovery, planted one after the other into a copy of the project: each must be caught by the tests that promise what it breaks.

.venv/bin/python -m tests.pipeline.planted          three minutes on two cores
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY, clean_environment


@dataclass(frozen=True)
class Bug:
    """What is wrong, the source that has it, the text that is replaced and what by, and the tests that are to fail."""

    what: str
    file: str
    right: str
    wrong: str
    tests: str


KILLED = "tests/pipeline/test_registry.py::test_a_promotion_that_is_killed_at_any_moment_is_made_again_whole"
BUGS = (
    Bug(
        "a file is written in its place, without a rename",
        "segmodels/atomic.py",
        "        yield partial\n        _flush(partial)\n        partial.replace(path)\n",
        "        yield path\n        _flush(path)\n",
        "tests/test_atomic.py",
    ),
    Bug(
        "a folder is removed before the new one has its name",
        "segmodels/atomic.py",
        "            path.replace(old)\n            partial.replace(path)\n            shutil.rmtree(old)\n",
        "            shutil.rmtree(path)\n            partial.replace(path)\n",
        "tests/test_atomic.py",
    ),
    Bug(
        "a bundle is registered again each time",
        "flows/registry.py",
        "    if found:\n        return found[0]\n",
        "",
        "tests/pipeline/test_registry.py::test_the_same_bundle_is_one_version_and_its_records_are_complete",
    ),
    Bug(
        "a promotion that was cut short is not put back",
        "flows/aliases.py",
        "    told = json.loads(intent)\n",
        "    told = json.loads(intent) | {'to': None}\n",
        KILLED,
    ),
    Bug(
        "the champion changes before it is noted that it will",
        "flows/aliases.py",
        '    client.set_registered_model_tag(project, _INTENT, json.dumps({"to": version, "before": before}))\n'
        "    client.set_registered_model_alias(project, CHAMPION, version)\n",
        "    client.set_registered_model_alias(project, CHAMPION, version)\n"
        '    client.set_registered_model_tag(project, _INTENT, json.dumps({"to": version, "before": before}))\n',
        KILLED,
    ),
    Bug(
        "a decision counts as made before it is carried out",
        "flows/promotion.py",
        '        if verdict.outcome == "promote" and previous != number:\n',
        "        for name, value in (_noted(verdict, number) | {DECISION: key}).items():\n"
        "            client.set_model_version_tag(project, number, name, value)\n"
        '        if verdict.outcome == "promote" and previous != number:\n',
        "tests/pipeline/test_registry.py::test_a_decision_that_was_cut_short_is_made_again",
    ),
    Bug(
        "a damaged shard is taken for whole",
        "segmodels/shards.py",
        "        return (found.images, found.masks) == (digests.of_file(folder / _IMAGES), digests.of_file(folder / _MASKS))\n",
        "        return bool(found)\n",
        "tests/pipeline/test_packing.py::test_a_damaged_shard_is_packed_again",
    ),
    Bug(
        "an image of the test set may leave it",
        "segmodels/remembered.py",
        "        found = self._split_of.get(_of_image(image_sha256), self._split_of.get(_of_name(sample_id)))\n",
        "        found = None\n",
        "tests/pipeline/test_remembered.py::test_nothing_moves_as_a_dataset_grows_and_is_renamed",
    ),
    Bug(
        "a training that was interrupted begins a second run",
        "segmodels/tracking.py",
        '        if found is not None and found.info.status != "FINISHED":\n',
        "        if False:\n",
        "tests/pipeline/test_tracking.py::test_a_training_that_was_interrupted_goes_on_in_its_run",
    ),
    Bug(
        "a file that is still being written is taken for known",
        "segmodels/ledger.py",
        "SETTLED_NS = 2 * 10**9\n",
        "SETTLED_NS = 0\n",
        "tests/test_ledger.py::test_what_was_only_just_written_is_not_relied_on",
    ),
    Bug(
        "a bundle that was fetched before is taken for any version",
        "flows/registry.py",
        "            if held.sha256 == version.tags[_BUNDLE]:\n                return held\n",
        "            return held\n",
        "tests/pipeline/test_registry.py::test_what_was_fetched_before_is_taken_only_if_it_is_the_version",
    ),
)


def caught(bug: Bug, folder: Path) -> bool:
    """Whether the tests fail with the bug, in a copy of the project at `folder`.

    Raises:
        AssertionError: the text that is to be replaced does not stand there once.
    """
    source = folder / bug.file
    text = source.read_text()
    assert text.count(bug.right) == 1, f"{bug.file}: {bug.right!r} stands there {text.count(bug.right)} times"
    source.write_text(text.replace(bug.right, bug.wrong))
    try:
        return run(folder, bug.tests) == 1  # some failed; any other number is another fault
    finally:
        source.write_text(text)


def run(folder: Path, tests: str) -> int:
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", tests]
    environment = clean_environment(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1")
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=600, check=False).returncode


def copied(folder: Path) -> Path:
    """The project's files, committed or not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, check=True
    ).stdout
    for name in filter(None, os.fsdecode(listed).split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, folder / name)
    return folder


def every(folder: Path) -> Iterator[tuple[Bug, bool]]:
    copied(folder)
    for bug in BUGS:
        yield bug, caught(bug, folder)


def main() -> None:
    missed = 0
    with tempfile.TemporaryDirectory() as work:
        for bug, is_caught in every(Path(work)):
            missed += not is_caught
            print(f"{'caught' if is_caught else 'MISSED'}: {bug.what} ({bug.file})", flush=True)
    sys.exit(f"{missed} of {len(BUGS)} were missed" if missed else None)


if __name__ == "__main__":
    main()
