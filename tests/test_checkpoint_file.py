from __future__ import annotations

import pathlib

import pytest
import torch

from lawm.checkpoint_file import read_checkpoint, training_inputs
from lawm.errors import LawmError

WHOLE = {
    "state_dict": {"weight": torch.zeros(1000)},
    "hyper_parameters": {},
    "lawm": {"inputs": {"seed": 0}},
}


def save(folder, content):
    path = folder / "a.ckpt"
    torch.save(content, path)
    return path


def test_a_whole_checkpoint_tells_its_inputs(tmp_path):
    path = save(tmp_path, WHOLE)
    assert training_inputs(path, read_checkpoint(path)) == {"seed": 0}


def test_a_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(LawmError, match=r"a\.ckpt does not exist; expected a checkpoint"):
        read_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("size", [0, 10, 2000])
def test_a_truncated_checkpoint_is_refused(size, tmp_path):
    path = save(tmp_path, WHOLE)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(LawmError, match=r"a\.ckpt cannot be read \(.+\)") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_with_pickled_code_is_refused(tmp_path):
    path = save(tmp_path, {**WHOLE, "path": pathlib.PurePosixPath("a")})
    with pytest.raises(LawmError, match="expected a whole checkpoint of plain weights and numbers"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"weights": 1}])
def test_what_is_not_of_lawm_is_refused(content, tmp_path):
    with pytest.raises(LawmError, match="was not written by `lawm fit`"):
        read_checkpoint(save(tmp_path, content))


def test_a_checkpoint_without_its_inputs_cannot_be_continued(tmp_path):
    content = {key: value for key, value in WHOLE.items() if key != "lawm"}
    path = save(tmp_path, content)
    with pytest.raises(LawmError, match="does not say what it was trained with"):
        training_inputs(path, read_checkpoint(path))
