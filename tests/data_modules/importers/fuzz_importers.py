"""Every importer as a target of the fuzzer.

    PYTHONPATH=tests/data_modules/importers python -m lawm.benchmarks.fuzz \\
        --modules fuzz_importers --inputs 10000

The inputs are those of the tests: what their writers write, and what other packages wrote.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from replay_writers import REPLAYS
from source_writers import SOURCES, recordings
from video_writers import numbered_frames, write_video

from lawm.benchmarks.fuzz_archives import mutate_folder, mutate_npz
from lawm.benchmarks.fuzz_bytes import mutate_bytes
from lawm.benchmarks.fuzz_hdf5 import mutate_hdf5
from lawm.benchmarks.fuzz_target import FuzzTarget, Mutation
from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.registry import FORMATS, importer_named
from lawm.data_modules.importers.run_import import run_import
from lawm.errors import LawmError

FILES = Path(__file__).parents[2] / "data"
PACKAGE_FILES = {
    "dreamerv2": FILES / "dreamerv2_episodes",
    "dreamerv3": FILES / "dreamerv3_replay",
    "stable-worldmodel": FILES / "stable_worldmodel.h5",
    "lerobot": FILES / "lerobot_v3",
}
VIDEOS = {
    "mp4": ("libx264", "yuv420p"),
    "mkv": ("ffv1", "bgr0"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "mov": ("png", "rgb24"),
    "gif": ("gif", "rgb8"),
}
LENGTHS = (3, 2)  # transitions: the fewer numbers, the more often structure is hit


def write_tfrecords(folder: Path) -> Path:
    from test_rl_unplugged import PAIRS, example, record

    path = folder / "train-00000-of-00100"
    path.write_bytes(record(example(PAIRS)))
    return path


def seeds_of(name: str) -> Callable[[Path], list[Path]]:
    """All sources of a format, each in a folder of its own."""

    def make(folder: Path) -> list[Path]:
        made = recordings(LENGTHS)
        found: list[Path] = []
        for kind, write in {**SOURCES, **REPLAYS}.items():
            if kind.split(",")[0] == name:
                place = folder / str(len(found))
                place.mkdir()
                found.append(write(place, made))
        if name in PACKAGE_FILES:
            source, target = PACKAGE_FILES[name], folder / PACKAGE_FILES[name].name
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            copy(source, target)
            found.append(target)
        if name == "video":
            found += write_videos(folder)
        if name == "rl-unplugged":
            found.append(write_tfrecords(folder))
        return found

    return make


def reader_of(name: str) -> Callable[[Path, Path], None]:
    def read(path: Path, scratch: Path) -> None:
        """Recognise and import, whatever the first says."""
        errors: list[LawmError] = []
        try:
            importer_named(name).recognises(path)
        except LawmError as error:
            errors.append(error)
        target = scratch / "out.h5"
        try:
            run_import(path, target, ImportOptions(format=name))
        except LawmError as error:
            errors.append(error)
            assert not list(scratch.iterdir()), "a refused import left a file"
        if errors:
            raise errors[0]

    return read


def detect(path: Path, scratch: Path) -> None:
    run_import(path, scratch / "out.h5", ImportOptions())


def all_seeds(folder: Path) -> list[Path]:
    found: list[Path] = []
    for name in FORMATS:
        place = folder / name
        place.mkdir()
        found += seeds_of(name)(place)
    return found


def mutate_parquet(path: Path, rng: np.random.Generator) -> str:
    """Another type, missing numbers or none of a column, written well."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix != ".parquet":
        return "nothing: no parquet"
    try:
        table = pq.read_table(path)
        at = int(rng.integers(table.num_columns))
        name, rows = table.schema.names[at], table.num_rows
        values = [
            pa.array([None] * rows, pa.float32()),
            pa.array(["x"] * rows),
            pa.array([2**62] * rows),
            pa.array([-1] * rows),
            pa.array([float("nan")] * rows),
            pa.array([[1.0] * (row % 3) for row in range(rows)]),
            pa.array([{"bytes": b"\x89PNG\r\n\x1a\n", "path": "x"}] * rows),
        ]
        table = table.remove_column(at)
        if rng.random() < 0.8:
            table = table.append_column(name, values[rng.integers(len(values))])
        pq.write_table(table, path, row_group_size=int(rng.integers(1, 30)))
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"nothing: {type(error).__name__}"
    return f"column {name}"


def write_videos(folder: Path) -> list[Path]:
    """Small ones of each container, and a folder."""
    found: list[Path] = []
    (folder / "clips").mkdir()
    frames = numbered_frames(6, (16, 16))
    for ending, (codec, pixel_format) in VIDEOS.items():
        path = write_video(folder / f"a.{ending}", frames, codec=codec, pixel_format=pixel_format)
        found.append(path)
        if ending in ("mp4", "gif"):
            shutil.copyfile(path, folder / "clips" / path.name)
    return [*found, folder / "clips"]


def mutations_of(name: str) -> tuple[Mutation, ...]:
    if name == "lerobot":
        return (mutate_parquet, mutate_bytes, mutate_folder)
    if name in ("rl-unplugged", "video"):
        return (mutate_bytes,)
    if name == "numpy" or name == "ogbench":
        return (mutate_npz, mutate_bytes)
    if name in ("exorl", "dreamerv2", "dreamerv3"):
        return (mutate_npz, mutate_bytes, mutate_folder)
    if name in ("d4rl", "robomimic", "laom", "stable-worldmodel"):
        return (mutate_hdf5, mutate_bytes)
    return (mutate_hdf5, mutate_npz, mutate_bytes, mutate_folder)


TARGETS = (
    *(
        FuzzTarget(f"import-{name}", seeds_of(name), reader_of(name), mutations_of(name))
        for name in FORMATS
    ),
    FuzzTarget("import-detect", all_seeds, detect, (mutate_bytes,)),
)

__all__ = ["TARGETS"]
