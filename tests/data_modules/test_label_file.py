from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from shard_factory import write_shard

from lawm.cli import main
from lawm.data_modules import MixedTrajectoryDataModule
from lawm.data_modules.label_file import read_label_file, split_by_file
from lawm.data_modules.shard_headers import read_headers
from lawm.errors import LawmError


@pytest.fixture
def shards(tmp_path):
    return [
        write_shard(tmp_path / f"{n}.h5", lengths=[6 + n] * 10, has_action=[True] * 9 + [False])
        for n in range(2)
    ]


def label(shards, out, *more):
    return main(["data", "label", *map(str, shards), "--out", str(out), *more])


def budget(path):
    return {key: set(shard.labelled) for key, shard in read_label_file(path).items()}


def test_a_file_is_what_fit_would_choose_itself(shards, tmp_path):
    out = tmp_path / "labels.json"
    assert label(shards, out, "--labels", "30%", "--held-out", "2", "--label-seed", "4") == 0
    paths = [str(path) for path in shards]
    settings = {"window": 4, "batch_size": 4}
    by_file = MixedTrajectoryDataModule(paths, labels=str(out), **settings)
    itself = MixedTrajectoryDataModule(paths, labels="30%", held_out="2", label_seed=4, **settings)
    assert by_file.fingerprint() == itself.fingerprint()
    for one, other in zip(by_file.episodes(), itself.episodes(), strict=True):
        assert torch.equal(one.action, other.action)
    assert by_file.summary()["labelled episodes"] == 5


@pytest.mark.parametrize("seed", ["0", "1"])
def test_budgets_of_one_seed_are_nested(shards, tmp_path, seed):
    smaller: dict[str, set[int]] = {}
    for number in (1, 3, 7, 12):
        out = tmp_path / f"{number}.json"
        assert label(shards, out, "--labels", str(number), "--label-seed", seed) == 0
        larger = budget(out)
        assert sum(map(len, larger.values())) == number
        assert all(smaller.get(key, set()) <= larger[key] for key in larger)
        smaller = larger


def test_a_label_file_is_not_made_from_another(shards, tmp_path, capsys):
    other, out = tmp_path / "labels.json", tmp_path / "more.json"
    assert label(shards, other) == 0
    assert label(shards, out, "--labels", str(other)) == 2
    assert "a label file; expected a number of episodes" in capsys.readouterr().err
    assert not out.exists()


def test_the_data_are_known_by_their_content(shards, tmp_path):
    out = tmp_path / "labels.json"
    label(shards, out)
    moved = shards[0].rename(tmp_path / "moved.h5")
    split = split_by_file(read_headers([shards[1], moved], []), out)  # and in another order
    first = split_by_file(read_headers([moved, shards[1]], []), out)
    assert np.array_equal(np.sort((split.labelled + 10) % 20), first.labelled)
    other = write_shard(tmp_path / "other.h5", lengths=[9] * 10)
    with pytest.raises(LawmError, match=r"knows nothing of .*other\.h5: no shard in it has"):
        split_by_file(read_headers([moved, other], []), out)


def test_nothing_is_overwritten_unasked(shards, tmp_path, capsys):
    out = tmp_path / "labels.json"
    out.write_text("mine")
    assert label(shards, out) == 2
    assert "exists already and is left as it is" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert label(shards, out, "--overwrite") == 0
    assert label(shards, tmp_path / "labels.txt") == 2
    assert "must end in .json" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.h5", "1.h5", "labels.json"]


SOUND = {
    "format": "lawm-labels",
    "version": 1,
    "shards": [{"name": "a", "checksum": "", "labelled": [0], "held_out": []}],
}


def changed(**shard):
    return {**SOUND, "shards": [{**SOUND["shards"][0], **shard}]}


FAULTS = {
    "not JSON": ("{", "cannot be read as JSON"),
    "deep": ("[" * 100_000, "cannot be read as JSON"),
    "not UTF-8": (b"\xff\xfe\xff", "cannot be read as JSON"),
    "another format": ({"format": "coco"}, "is no label file"),
    "a list": ([1], "is no label file"),
    "version": ({**SOUND, "version": 2}, "has version 2, expected 1"),
    "no shards": ({**SOUND, "shards": []}, "names no shards"),
    "no checksum": (changed(checksum=3), "has no text as `checksum`"),
    "labelled": (changed(labelled="all"), "no list of episode numbers as `labelled`"),
    "negative": (changed(held_out=[-1]), "no list of episode numbers as `held_out`"),
    "truth": (changed(labelled=[True]), "no list of episode numbers as `labelled`"),
    "twice": (changed(held_out=[0]), "names an episode twice"),
    "beyond": (changed(labelled=[10]), "gives labels to episode 10 of .*0.h5"),
    "no action": (changed(labelled=[9]), "gives labels to episode 9 of .*, which has 10"),
    "none": (changed(labelled=[]), "labels no episode of data.shards"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_a_sentence(shards, tmp_path, fault):
    content, message = FAULTS[fault]
    path = tmp_path / "labels.json"
    (header,) = read_headers(shards[:1], [])
    if isinstance(content, dict) and content.get("shards"):
        content = json.loads(json.dumps(content))
        if content["shards"][0]["checksum"] == "":
            content["shards"][0]["checksum"] = header.meta.checksum
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LawmError, match=message) as raised:
        split_by_file([header], path)
    assert "labels.json" in str(raised.value)


def test_a_missing_file(shards, tmp_path):
    data = MixedTrajectoryDataModule(str(shards[0]), labels=str(tmp_path / "gone.json"))
    with pytest.raises(LawmError, match=r"data\.labels names .*gone\.json, but there is no such"):
        data.setup()
