"""Where Lightning would train on an Apple GPU, lawm trains on the CPU."""

from __future__ import annotations

import pytest
import torch

from lawm.errors import LawmError
from lawm.trainer_check import without_apple_gpu


@pytest.mark.parametrize(
    ("has_one", "wanted", "expected"),
    [
        (True, "auto", "cpu"),
        (True, "cpu", "cpu"),
        (False, "auto", "auto"),
        (False, "gpu", "gpu"),
        (True, "gpu", None),
        (True, "mps", None),
        (False, "mps", None),
    ],
)
def test_an_apple_gpu_is_not_trained_on(monkeypatch, has_one, wanted, expected):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_one)
    settings = {"accelerator": wanted, "devices": 1}
    if expected is None:
        with pytest.raises(LawmError, match=rf"accelerator is {wanted}.*no float64.*cpu or auto"):
            without_apple_gpu(settings)
    else:
        assert without_apple_gpu(settings) == {"accelerator": expected, "devices": 1}
