from __future__ import annotations

import json
import sys

import h5py
import numpy as np
import pytest
from shard_factory import write_shard

from lawm.cli import main
from lawm.data_modules import shard_verdict
from lawm.data_modules.shard_verdict import check_here, check_shards


def test_a_sound_shard(tmp_path, capsys):
    path = write_shard(tmp_path / "a.h5", lengths=[4, 5], has_reward=[True, False], image=True)
    assert main(["data", "check", str(path), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["ok"]
    (shard,) = verdict["shards"]
    assert (shard["episodes"], shard["transitions"], shard["with_reward"]) == (2, 9, 1)
    assert shard["observations"] == {"camera": "[8, 8, 3] uint8", "state": "[3] float32"}
    assert shard["warnings"] == [] and shard["error"] is None
    assert main(["data", "check", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"sound   {path}: 2 episodes, 9 transitions")


def test_no_module_of_the_current_folder_is_run(tmp_path, monkeypatch):
    path = write_shard(tmp_path / "a.h5", lengths=[4])
    for name in ("h5py", "json", "random"):
        (tmp_path / f"{name}.py").write_text("open('harm', 'w').close()\nraise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [part for part in sys.path if part])
    (verdict,) = check_shards([path])
    assert verdict.ok, verdict.error
    assert not (tmp_path / "harm").exists()


def test_one_faulty_shard_among_sound_ones(tmp_path, capsys):
    sound = write_shard(tmp_path / "a.h5", lengths=[4])
    faulty = write_shard(tmp_path / "b.h5", lengths=[5])
    with h5py.File(faulty, "r+") as file:
        file["obs/state"][1, 1] += 1.0
    assert main(["data", "check", str(sound), str(faulty), str(tmp_path / "c.h5"), "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert [shard["ok"] for shard in verdict["shards"]] == [True, False, False]
    assert not verdict["ok"]
    assert "`/obs/state`" in verdict["shards"][1]["error"]
    assert "is damaged" in verdict["shards"][1]["error"]
    assert "There is no shard" in verdict["shards"][2]["error"]


def test_a_crash_a_hang_and_nonsense_are_sentences(tmp_path, monkeypatch):
    path = write_shard(tmp_path / "a.h5", lengths=[4])
    assert check_shards([path])[0].ok
    monkeypatch.setattr(shard_verdict, "PATIENCE", 3.0)
    for code, expected in (
        ("import os; os.abort()", "ended the process with -6"),
        ("import time; time.sleep(60)", "did not end within 3 s"),
        ("print('{}')", "ended the process with 0"),
    ):
        interpreter = tmp_path / "python"
        interpreter.write_text(f"#!/bin/sh\nexec {shard_verdict.sys.executable} -c '{code}'\n")
        interpreter.chmod(0o755)
        with monkeypatch.context() as patch:
            patch.setattr(shard_verdict.sys, "executable", str(interpreter))
            (verdict,) = check_shards([path])
        assert not verdict.ok and verdict.error is not None
        assert str(path) in verdict.error and expected in verdict.error


def test_what_is_odd_and_not_wrong_is_noted(tmp_path):
    path = write_shard(tmp_path / "a.h5", lengths=[4, 3], counter=False)
    with h5py.File(path, "r+") as file:
        for name, values in (
            ("action", np.where(np.isnan(file["action"][()]), np.nan, 1.5).astype(np.float32)),
            ("truncated", np.zeros(9, np.bool_)),
        ):
            file[name][...] = values
            file[name].attrs["sha256"] = np.bytes_(shard_verdict_checksum(values))
    verdict = check_here(path)
    assert verdict.ok
    assert verdict.warnings[0].startswith("7 actions lie outside of the bounds")
    assert verdict.warnings[1].startswith("2 episodes of")


def shard_verdict_checksum(values):
    from lawm.data_modules.shard_file import checksum

    return checksum(values).encode()


@pytest.mark.parametrize("cut", range(1, 40))
def test_truncated_anywhere(tmp_path, cut):
    path = write_shard(tmp_path / "a.h5", lengths=[2], image=True)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * cut // 40])
    verdict = check_here(path)
    assert not verdict.ok and verdict.error is not None and str(path) in verdict.error
