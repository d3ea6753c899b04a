from __future__ import annotations

import pathlib

import pytest
import torch

from lawm.checkpoint_file import (
    FORMAT,
    FORMAT_KEY,
    DamagedCheckpointError,
    newest_checkpoint,
    read_checkpoint,
    training_inputs,
    write_checkpoint,
)
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


def test_no_damaged_byte_goes_unseen(tmp_path):
    """It is refused, or it lies where nothing is told, such as in padding."""
    path = tmp_path / "a.ckpt"
    write_checkpoint({**WHOLE, "state_dict": {"weight": torch.arange(100.0)}}, path)
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        try:
            weight = read_checkpoint(path)["state_dict"]["weight"]
        except LawmError:
            refused += 1
        else:
            assert weight.equal(torch.arange(100.0)), place
    assert refused > len(whole) / 7 / 3


def test_a_checkpoint_is_written_and_read_back(tmp_path):
    path = tmp_path / "new" / "a.ckpt"
    write_checkpoint(WHOLE, path)
    content = read_checkpoint(path)
    assert content.keys() == {*WHOLE, FORMAT_KEY}
    assert content[FORMAT_KEY] == FORMAT


@pytest.fixture
def pair(tmp_path):
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for step in (1, 2):
        write_checkpoint({**WHOLE, "global_step": step}, last, previous)
    return last, previous


def test_the_newest_checkpoint_is_taken(pair, caplog):
    path, content = newest_checkpoint(*pair)
    assert (path, content["global_step"]) == (pair[0], 2)
    assert caplog.text == ""


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(pair, caplog):
    last, previous = pair
    last.write_bytes(last.read_bytes()[:-100])
    path, content = newest_checkpoint(*pair)
    assert (path, content["global_step"]) == (previous, 1)
    assert f"checkpoint {last} cannot be read" in caplog.text
    assert f"the one before it is used: {previous}" in caplog.text


def test_a_run_killed_between_two_renames_goes_on_from_the_one_before(pair):
    pair[0].unlink()
    assert newest_checkpoint(*pair)[0] == pair[1]


@pytest.mark.parametrize("which", [0, 1])
def test_without_a_good_one_the_damaged_is_refused(which, pair):
    for path in pair:
        path.write_bytes(b"PK")
    if which == 1:
        pair[1].unlink()
    with pytest.raises(DamagedCheckpointError, match="cannot be read"):
        newest_checkpoint(*pair)


def test_the_first_format_is_migrated(tmp_path):
    stream = {"cpu": torch.get_rng_state(), "cuda": []}
    callbacks = {"RandomStream": stream, "Other": {"a": 1}}
    content = read_checkpoint(save(tmp_path, {**WHOLE, "callbacks": callbacks}))
    assert content[FORMAT_KEY] == FORMAT
    assert content["callbacks"] == {"Other": {"a": 1}}
    assert content["random_states"]["cpu"].equal(stream["cpu"][None])


def test_a_cloned_policy_of_the_second_format_is_migrated(tmp_path):
    spec = {"observations": {"state": {"shape": [2], "kind": "state", "mean": (), "std": ()}}}
    settings = {"spec": spec, "model": {"before": 0, "after": 0}}
    content = read_checkpoint(
        save(tmp_path, {**WHOLE, FORMAT_KEY: 2, "hyper_parameters": settings})
    )
    assert content[FORMAT_KEY] == FORMAT
    assert content["hyper_parameters"]["spec"]["observations"]["state"]["change"] == ()


@pytest.mark.parametrize(
    "of",
    [
        {"hyper_parameters": {"model": {"before": 1, "after": 2}}},
        {"state_dict": {"model.latent_action.inverse_projection.weight": torch.zeros(1)}},
    ],
)
def test_what_infers_actions_in_the_second_format_is_refused(of, tmp_path):
    path = save(tmp_path, {**WHOLE, FORMAT_KEY: 2, **of})
    with pytest.raises(
        LawmError, match=r"has format 2 or an older one, .* commit is in the run's provenance.json"
    ):
        read_checkpoint(path)


def test_of_the_third_format_a_world_model_is_refused_and_the_rest_is_taken(tmp_path):
    assert read_checkpoint(save(tmp_path, {**WHOLE, FORMAT_KEY: 3}))[FORMAT_KEY] == FORMAT
    weights = {"model.latent_action.inverse_projection.weight": torch.zeros(1)}
    path = save(tmp_path, {**WHOLE, FORMAT_KEY: 3, "state_dict": weights})
    with pytest.raises(LawmError, match=r"has format 3, of a world model .* train anew"):
        read_checkpoint(path)


def test_a_world_model_of_the_fourth_format_has_its_one_deviation_twice(tmp_path):
    deviation = torch.tensor([0.3, -0.2])
    content = read_checkpoint(
        save(
            tmp_path,
            {
                **WHOLE,
                FORMAT_KEY: 4,
                "state_dict": {"model.latent_action.decoder_raw_std": deviation},
                "hyper_parameters": {"model": {"action_max_std": 0.4}},
            },
        )
    )
    assert content[FORMAT_KEY] == FORMAT
    assert content["state_dict"]["model.latent_action.inverse_raw_std"].equal(deviation)
    model = content["hyper_parameters"]["model"]
    assert model == {"action_max_std": 0.4, "inverse_max_std": 0.4}


def test_a_checkpoint_of_a_newer_lawm_is_refused(tmp_path):
    path = save(tmp_path, {**WHOLE, FORMAT_KEY: 99})
    with pytest.raises(LawmError, match=r"has format 99, .* formats 1 to \d.*update lawm"):
        read_checkpoint(path)
