"""How a machine is shared."""

import pytest
import torch

from segmodels import device


@pytest.mark.parametrize(("trainings", "threads"), [(2, "4"), (3, "2"), (20, "1")])
def test_trainings_at_once_share_the_cores_of_a_cpu(monkeypatch: pytest.MonkeyPatch, trainings: int, threads: str) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.share_of_cores(trainings) == {"OMP_NUM_THREADS": threads}
    assert device.share_of_cores(1) == {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.share_of_cores(trainings) == {}
