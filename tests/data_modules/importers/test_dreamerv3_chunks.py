"""DreamerV3's chunks are put together to the streams that its workers saw."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from importing import imported
from replay_writers import write_dreamerv3
from source_writers import recordings

from lawm.errors import LawmError


def test_the_size_of_chunks_and_the_number_of_workers_change_nothing(tmp_path: Path) -> None:
    made = recordings([4, 6, 5, 3])
    expected = [(len(e.state), float(e.state[0, 0])) for e in made]
    for chunk, workers in ((1, 1), (3, 2), (100, 4)):
        source = write_dreamerv3(
            tmp_path / f"{chunk}-{workers}", made, chunk=chunk, workers=workers
        )
        shard, _ = imported(source)
        starts = shard.episodes.offset[:-1]
        found = zip(np.diff(shard.episodes.offset), shard.obs["state"][starts, 0], strict=True)
        assert sorted(found, key=lambda pair: pair[1]) == expected


def test_a_lost_chunk_ends_one_stream_and_begins_another(tmp_path: Path) -> None:
    source = write_dreamerv3(tmp_path / "replay", recordings([9, 6]), chunk=4, workers=1)
    sorted(source.iterdir())[1].unlink()
    shard, report = imported(source)
    # Rows 0-3 and 8-9 of the first episode are left; row 8 is the second row of a chunk's
    assert shard.episodes.lengths.tolist() == [3, 1, 6]
    np.testing.assert_array_equal(shard.obs["state"][:6, 0], [0, 1, 2, 3, 8, 9])
    assert shard.action is not None and shard.action[4, 1] == np.float32(0.09)
    assert any("begins within an episode" in note for note in report.notes)
    assert any("still running; it is kept as truncated" in note for note in report.notes)


def test_a_chunk_that_was_saved_again_when_it_was_longer(tmp_path: Path) -> None:
    source = write_dreamerv3(tmp_path / "replay", recordings([3, 4]), chunk=9, workers=1)
    (file,) = source.iterdir()
    with np.load(file) as archive:
        short = {name: archive[name][:5] for name in archive.files}
    np.savez(source / file.name.replace("-9.npz", "-5.npz"), **short)
    shard, report = imported(source)
    assert shard.episodes.lengths.tolist() == [3, 4]
    assert any("saved more than once" in note for note in report.notes)


def test_chunks_in_a_circle(tmp_path: Path) -> None:
    source = write_dreamerv3(tmp_path / "replay", recordings([3]), chunk=9, workers=1)
    (file,) = source.iterdir()
    time, own, _, length = file.name.split("-")
    file.rename(file.with_name(f"{time}-{own}-{own}-{length}"))
    with pytest.raises(LawmError, match=r"do not follow each other in streams: .* 1 chunks"):
        imported(source)


def test_a_stranger_among_the_chunks(tmp_path: Path) -> None:
    source = write_dreamerv3(tmp_path / "replay", recordings([3]))
    shutil.copy(next(source.iterdir()), source / "zzz.npz")
    with pytest.raises(LawmError, match=r"zzz\.npz is not called \{time\}-\{uuid\}"):
        imported(source)
