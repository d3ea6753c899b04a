"""How fast videos are imported: beside PyAV decoding alone, and decoding to RGB of the size stored.

    python -m lawm.benchmarks.video_import --json results/video_import.json

Frames are noise that moves over a scene, so that a codec has work to do; H.264 as phones write it.
CPU seconds of all processes count, the import's decoding process and compression included, as
another process on a shared machine slows down any of them; wall seconds are given beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.run_import import run_import
from lawm.data_modules.importers.video_options import VideoOptions

SIZES = ((480, 640), (1080, 1920))  # (H, W)
RATE = 30
STORED = 64  # pixels


@dataclass(frozen=True)
class Row:
    """One way through one video."""

    video: str
    way: str
    frames: int
    cpu_seconds: float  # of all processes
    wall_seconds: float

    @property
    def frames_per_second(self) -> float:
        """Of CPU time."""
        return self.frames / self.cpu_seconds


def write_scene(path: Path, size: tuple[int, int], num: int) -> None:
    """An H.264 file of ``num`` frames."""
    import av

    height, width = size
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (height // 8 + 1, width // 8 + 32, 3), dtype=np.uint8)
    scene = scene.repeat(8, 0).repeat(8, 1)
    grain = rng.integers(-8, 9, scene.shape, dtype=np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for t in range(num):
            at = 2 * t % 240
            values = (
                np.roll(grain, 17 * t, (0, 1))[:height, :width] + scene[:height, at : at + width]
            )
            picture = np.clip(values, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def decode_alone(path: Path) -> None:
    """Every frame, thrown away."""
    import av

    with av.open(str(path)) as container:
        for _ in container.decode(video=0):
            pass


def decode_and_scale(path: Path) -> None:
    """Every frame as RGB of the size that is stored, in this process, thrown away."""
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frame.reformat(STORED, STORED, "rgb24", interpolation="AREA").to_ndarray()


def measure(path: Path, name: str, frames: int, rounds: int) -> list[Row]:
    """The fastest of some rounds of each way."""
    target = path.with_suffix(".h5")
    options = ImportOptions(
        video=VideoOptions(size=(STORED, STORED), cut_threshold=1.0), overwrite=True
    )
    third = ImportOptions(
        video=VideoOptions(size=(STORED, STORED), cut_threshold=1.0, fps=RATE / 3), overwrite=True
    )
    ways: dict[str, Callable[[], object]] = {
        "PyAV, decoded alone": lambda: decode_alone(path),
        "PyAV, decoded and scaled": lambda: decode_and_scale(path),
        "lawm data import": lambda: run_import(path, target, options),
        "lawm data import, every third frame": lambda: run_import(path, target, third),
    }
    best: dict[str, Row] = {}
    for _ in range(rounds):
        for way, run in ways.items():
            before, start = os.times(), time.perf_counter()
            run()
            wall, after = time.perf_counter() - start, os.times()
            cpu = sum(after[:4]) - sum(before[:4])
            row = Row(name, way, frames, round(cpu, 3), round(wall, 3))
            if way not in best or row.cpu_seconds < best[way].cpu_seconds:
                best[way] = row
    return list(best.values())


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300, help="of each video (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest counts (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    args = parser.parse_args(argv)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lawm-video-") as folder:
        for size in SIZES:
            path = Path(folder) / f"{size[0]}.mp4"
            write_scene(path, size, args.frames)
            rows += measure(path, f"{size[1]} x {size[0]}", args.frames, args.rounds)
    for row in rows:
        print(f"{row.video:12} {row.way:36} {row.frames_per_second:8.0f} frames/s of CPU time")
    if args.json is not None:
        values = [asdict(row) | {"frames_per_second": round(row.frames_per_second)} for row in rows]
        args.json.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
