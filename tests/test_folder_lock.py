"""What two processes add to one file is all there."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from lawm.folder_lock import alone_in

TIMES = 40


def add(path: Path) -> None:
    for _ in range(TIMES):
        with alone_in(path.parent):
            path.write_text(str(int(path.read_text()) + 1))


def test_nothing_is_lost_between_reading_and_writing(tmp_path):
    path = tmp_path / "number"
    path.write_text("0")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=add, args=(path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert path.read_text() == str(3 * TIMES)
    assert [file.name for file in tmp_path.iterdir()] == ["number"]
