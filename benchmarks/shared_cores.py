"""Trains a small network in one process and in two at once, with threads that spin long while they wait and with ones that soon sleep.

Two trainings, or a training and anything else, share the cores of a CPU machine all the time. Prints steps a second of each process
with OpenMP's default and with what segmodels sets (`GOMP_SPINCOUNT`, see segmodels/environment.py), in turns, medians.

    .venv/bin/python benchmarks/shared_cores.py      two minutes on two cores
"""

import os
import statistics
import subprocess
import sys
import time

from segmodels.environment import ENVIRONMENT

ROUNDS, SECONDS = 3, 8


def work(seconds: float) -> float:
    """Steps a second of a training."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Conv2d(32 if n else 3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()) for n in range(8)]
    network = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 128, 128).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    steps, start = 0, time.monotonic()
    while time.monotonic() - start < seconds:
        optimizer.zero_grad()
        network(images).mean().backward()
        optimizer.step()
        steps += 1
    return steps / (time.monotonic() - start)


def measure(ours: bool, processes: int) -> float:
    """Steps a second of each of several processes, on average."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    if ours:
        environment["GOMP_SPINCOUNT"] = ENVIRONMENT["GOMP_SPINCOUNT"]
    started = [
        subprocess.Popen([sys.executable, __file__, "work"], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    return statistics.mean(float(process.communicate()[0]) for process in started)


def main() -> None:
    found: dict[tuple[bool, int], list[float]] = {(ours, count): [] for ours in (False, True) for count in (1, 2)}
    for _ in range(ROUNDS):
        for ours, count in found:
            found[ours, count].append(measure(ours, count))
    median = {key: statistics.median(values) for key, values in found.items()}
    for count, name in ((1, "alone"), (2, "two at once, each")):
        theirs, tuned = median[False, count], median[True, count]
        print(f"{name:<20} default {theirs:5.2f} steps/s, ours {tuned:5.2f} steps/s: {tuned / theirs:.2f} times")


if __name__ == "__main__":
    if sys.argv[1:] == ["work"]:
        print(work(SECONDS))
    else:
        main()
