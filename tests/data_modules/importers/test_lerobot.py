"""LeRobot v3: pictures from both places, and every fault a sentence. LeRobot wrote the files."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.run_import import run_import
from lawm.data_modules.shard_format import Shard
from lawm.data_modules.shard_reader import read_shard
from lawm.errors import LawmError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
av = pytest.importorskip("av")

ORIGINAL = Path(__file__).parents[2] / "data" / "lerobot_v3"
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.front/chunk-000/file-000.mp4"
LEVELS = [16 * t + 8 * e + 10 for e, frames in enumerate((12, 9)) for t in range(frames)]
CODEC_ERROR = 2  # grey levels that AV1 is off by


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return shutil.copytree(ORIGINAL, tmp_path / "set")


def imported(source: Path, **options: Any) -> Shard:
    path = source.parent / "out.h5"
    run_import(source, path, ImportOptions(**options))
    return read_shard(path, verify=True)


def test_frames_of_videos_and_pictures_of_tables(source: Path) -> None:
    shard = imported(source)
    assert set(shard.obs) == {"state", "front", "wrist"}
    wrist, front = shard.obs["wrist"], shard.obs["front"].astype(int)
    assert wrist.shape == front.shape == (21, 32, 48, 3)
    np.testing.assert_array_equal(
        wrist, np.broadcast_to(np.array(LEVELS)[:, None, None, None], wrist.shape)
    )
    assert np.abs(front - wrist).max() <= CODEC_ERROR


def test_facts_of_the_set(source: Path) -> None:
    meta = imported(source).meta
    assert (meta.control_timestep, meta.action_repeat) == (0.1, 1)
    assert meta.provenance["import"]["env_name"] == "point"


def test_states_alone_need_no_videos(source: Path) -> None:
    shutil.rmtree(source / "videos")
    shard = imported(source, keys=("observation.state=state",))
    assert set(shard.obs) == {"state"}


def test_pictures_of_another_layout_in_several_row_groups(source: Path) -> None:
    table = pq.read_table(source / DATA)
    pq.write_table(table, source / DATA, row_group_size=5)  # episodes lie across the groups
    change_info(
        source,
        lambda info: info["features"]["observation.images.wrist"].update(
            shape=[3, 32, 48], names=["channels", "height", "width"]
        ),
    )
    np.testing.assert_array_equal(imported(source).obs["wrist"][:, 0, 0, 0], LEVELS)


def change_info(source: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = source / "meta/info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def change_column(source: Path, file: str, name: str, values: Any) -> None:
    table = pq.read_table(source / file)
    at = table.schema.get_field_index(name)
    table = table.remove_column(at)
    pq.write_table(table if values is None else table.append_column(name, values), source / file)


def stating(**changes: Any) -> Callable[[Path], object]:
    return lambda source: change_info(source, lambda info: info.update(changes))


def with_feature(name: str, **changes: Any) -> Callable[[Path], object]:
    return lambda source: change_info(source, lambda info: info["features"][name].update(changes))


def with_column(file: str, name: str, values: Any) -> Callable[[Path], object]:
    return lambda source: change_column(source, file, name, values)


def cut(file: str) -> Callable[[Path], object]:
    return lambda source: (source / file).write_bytes((source / file).read_bytes()[:-300])


def written(file: str, content: bytes) -> Callable[[Path], object]:
    return lambda source: (source / file).write_bytes(content)


NO_PICTURES = pa.array([{"bytes": None, "path": "/etc/passwd"}] * 21)
START = "videos/observation.images.front/from_timestamp"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "v2.1": (stating(codebase_version="v2.1"), r"version v2\.1; .*convert_dataset_v21_to_v30"),
    "v9": (stating(codebase_version="v9"), r"version v9; expected v3\.0"),
    "no json": (written("meta/info.json", b"{"), r"no format that lawm .* cannot be read as JSON"),
    "episodes": (stating(total_episodes=3), r"tells of 3 episodes, but meta/episodes lists 2"),
    "fps": (stating(fps=0), r"`fps` of .* is 0; expected a positive number"),
    "features": (stating(features=[]), "no table `features`"),
    "shape": (with_feature("action", shape=["x"]), r"Feature `action` of .* shape \['x'\]"),
    "other shape": (with_feature("action", shape=[3]), r"`action` of episode 0 .* has 24 numbers"),
    "picture": (with_feature("observation.images.wrist", shape=[9, 9, 3]), "has 32 x 48 pixels; e"),
    "frames": (with_feature("observation.images.front", shape=[9, 9, 3]), "frames of 32 x 48 pix"),
    "vector": (with_feature("observation.images.front", shape=[9]), r"shape \(9,\); .* a picture"),
    "missing": (with_column(DATA, "action", None), "file-000.parquet has no column `action`"),
    "nulls": (with_column(DATA, "action", pa.array([None] * 21, pa.float32())), "12 missing val"),
    "texts": (with_column(DATA, "action", pa.array(["x"] * 21)), "type string and 0 missing"),
    "paths": (with_column(DATA, "observation.images.wrist", NO_PICTURES), "a path or nothing; ex"),
    "no png": (
        with_column(DATA, "observation.images.wrist", pa.array([{"bytes": b"x"}] * 21)),
        "`observation.images.wrist` of episode 0 in .*set, frame 0, cannot be decoded",
    ),
    "order": (with_column(DATA, "episode_index", pa.array([0] * 21)), "not those of episode 1"),
    "length": (with_column(EPISODES, "length", pa.array([12, 8])), "Episode 1 .* has length 8 and"),
    "rows": (cut(DATA), "file-000.parquet cannot be read as parquet"),
    "index": (cut(EPISODES), "file-000.parquet cannot be read as parquet"),
    "no index": (lambda s: shutil.rmtree(s / "meta/episodes"), "has no meta/episodes"),
    "no data": (lambda s: shutil.rmtree(s / "data"), r"no file .*data.chunk-000.file-000\.parquet"),
    "no video": (lambda s: shutil.rmtree(s / "videos"), r"no file .*front.chunk-000.file-000\.mp4"),
    "video": (cut(VIDEO), r"The (frames|video) of episode \d in .*mp4"),
    "playlist": (written(VIDEO, b"#EXTM3U\n/etc/passwd\n"), "cannot be decoded"),
    "time": (with_column(EPISODES, START, pa.array([0.0, 9.0])), r"episode 1 .* no frame at 9\.0"),
    "lists of times": (
        with_column(EPISODES, START, pa.array([[0.0], []])),
        "from_timestamp` of .* has 1 numbers in 2 rows; expected one in each",
    ),
    "lists of frames": (
        with_column(DATA, "frame_index", pa.array([[0, 1]] * 21)),
        "`frame_index` of .* has 24 numbers in 12 rows",
    ),
    "half a frame": (with_column(EPISODES, START, pa.array([0.0, 1.25])), r"no frame at 1\.2500 s"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_a_sentence_and_nothing_is_written(source: Path, case: str) -> None:
    make, message = FAULTS[case]
    make(source)
    with pytest.raises(LawmError, match=f"(?s){message}"):
        imported(source)
    assert not (source.parent / "out.h5").exists()


@pytest.mark.parametrize("package", ["pyarrow", "av"])
def test_without_the_extra(source: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LawmError, match=rf"need the package {package}, .*pip install 'lawm\[lero"):
        imported(source)
