from __future__ import annotations

import os
from pathlib import Path

import pytest

from lawm.atomic_write import atomic_file, is_leftover, remove_leftovers, write_atomically


class KilledError(BaseException):
    pass


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def fail(self, target):
        raise OSError("disk on fire")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk on fire"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_what_was_there_before_is_kept(tmp_path):
    path, previous = tmp_path / "last", tmp_path / "previous"
    for text in (b"1", b"2", b"3"):
        with atomic_file(path, previous) as file:
            file.write(text)
    assert (path.read_bytes(), previous.read_bytes()) == (b"3", b"2")


@pytest.mark.parametrize("call", range(4))
def test_one_whole_file_is_there_wherever_the_writer_dies(call, tmp_path, monkeypatch):
    path, previous = tmp_path / "last", tmp_path / "previous"
    path.write_bytes(b"old")
    calls = []

    def dying(function):
        def wrapper(*args):
            calls.append(function)
            if len(calls) == call + 1:
                raise KilledError
            return function(*args)

        return wrapper

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    with pytest.raises(KilledError), atomic_file(path, previous) as file:
        file.write(b"new")
    newest = path if path.is_file() else previous
    assert newest.read_bytes() in (b"old", b"new")


def test_leftovers_are_known_and_removed(tmp_path):
    (tmp_path / "stage").mkdir()
    left = [tmp_path / ".config.yaml.tmp-12", tmp_path / "stage" / ".last.ckpt.tmp-7"]
    kept = [tmp_path / ".hidden", tmp_path / "a.tmp-1", tmp_path / ".lock"]
    for path in left + kept:
        path.write_text("")
    assert [is_leftover(path) for path in left + kept] == [True] * 2 + [False] * 3
    remove_leftovers(tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
