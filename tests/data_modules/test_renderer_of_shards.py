"""How the pictures were rendered, from the shard to the specification of the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from lawm.data_modules.episode_copy import merge_shards
from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule
from lawm.data_modules.shard_format import fixed_text
from lawm.data_modules.shard_reader import open_shard, read_shard
from lawm.data_modules.shard_writer import ShardWriter
from lawm.errors import LawmError
from lawm.renderer_spec import RendererSpec
from lawm.spec import DataSpec

RENDERER = RendererSpec(6, 4, {"pixels": "side"}, backend="egl")


def write(path: Path, renderer: RendererSpec | None, seed: int = 0) -> Path:
    """Two episodes of four steps with pictures and states."""
    rng = np.random.default_rng(seed)
    with ShardWriter(path, action_low=[-1.0], action_high=[1.0], renderer=renderer) as writer:
        for _ in range(2):
            writer.add_episode(
                {
                    "pixels": rng.integers(0, 256, (5, 4, 6, 3), np.uint8),
                    "state": rng.normal(size=(5, 2)),
                },
                rng.uniform(-1.0, 1.0, (4, 1)),
                rng.normal(size=4),
                terminated=False,
                truncated=True,
                source_id="x",
            )
    return path


def data(*paths: Path) -> MixedTrajectoryDataModule:
    return MixedTrajectoryDataModule([str(path) for path in paths], window=2, held_out="none")


@pytest.mark.parametrize("renderer", [RENDERER, None])
def test_from_the_shard_to_the_specification(tmp_path: Path, renderer: RendererSpec | None) -> None:
    path = write(tmp_path / "a.h5", renderer)
    assert read_shard(path, verify=True).meta.renderer == renderer
    spec = data(path).spec
    assert spec.renderer == renderer
    assert spec.observations["pixels"].kind == "image"
    again = DataSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.unrendered_images == ([] if renderer else ["pixels"])


def test_specifications_of_before_know_no_renderer(tmp_path: Path) -> None:
    values = data(write(tmp_path / "a.h5", None)).spec.to_dict()
    del values["renderer"]
    assert DataSpec.from_dict(values).renderer is None


@pytest.mark.parametrize(
    "other",
    [
        replace(RENDERER, cameras={"pixels": "back"}),
        replace(RENDERER, shadows=True),
        replace(RENDERER, multisamples=4),
    ],
)
def test_pictures_of_one_data_set_look_alike(tmp_path: Path, other: RendererSpec) -> None:
    paths = [write(tmp_path / "a.h5", RENDERER), write(tmp_path / "b.h5", other, seed=1)]
    with pytest.raises(LawmError, match=r"b\.h5 has pictures of 6 x 4, .*but .*a\.h5 has .*agree"):
        data(*paths).setup()


def test_pictures_of_unknown_origin_agree_with_any(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.h5", None), write(tmp_path / "b.h5", RENDERER, seed=1)]
    assert data(*paths).spec.renderer == RENDERER
    merge_shards(paths, tmp_path / "both.h5")
    assert read_shard(tmp_path / "both.h5").meta.renderer is None
    other = write(tmp_path / "c.h5", replace(RENDERER, backend="osmesa"), seed=2)
    merge_shards([paths[1], other], tmp_path / "known.h5")
    assert read_shard(tmp_path / "known.h5").meta.renderer == RENDERER


def set_renderer(text: str) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        file.attrs["renderer"] = fixed_text(text)

    return damage


def without_pictures(file: h5py.File) -> None:
    del file["obs/pixels"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (set_renderer("{"), r"has renderer '\{', expected a JSON object"),
        (set_renderer("[]"), "expected a JSON object"),
        (set_renderer('{"width": 6}'), "renderer has the fields width; expected"),
        (
            set_renderer(json.dumps(replace(RENDERER, width=8).to_dict())),
            r"pictures `pixels` of shape \(4, 8, 3\), but .* has \(4, 6, 3\)",
        ),
        (without_pictures, "but `/obs/pixels` is missing"),
    ],
)
def test_a_renderer_that_does_not_fit_is_refused(
    tmp_path: Path, damage: Callable[[h5py.File], None], message: str
) -> None:
    path = write(tmp_path / "a.h5", RENDERER)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(LawmError, match=rf"a\.h5.*{message}"):
        open_shard(path)
