from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from rich.console import Console
from shard_factory import write_shard

from lawm.data_modules import render_shard as render_module
from lawm.data_modules.collect import CollectConfig, collect
from lawm.data_modules.episode_pictures import Scene
from lawm.data_modules.render_shard import RenderConfig, RenderReport, render_shard
from lawm.data_modules.shard_format import Shard
from lawm.data_modules.shard_reader import read_shard
from lawm.data_modules.shard_writer import ShardWriter
from lawm.envs import make_env
from lawm.envs.pixel_observations import PixelObservations
from lawm.errors import LawmError
from lawm.evaluation import evaluate

ENV, REPEAT, STEPS = "dm_control/walker-walk", 100, 20  # two episodes of ten steps
SIZE = 24


def collected(path: Path, env: str = ENV, **options: Any) -> Path:
    config = CollectConfig(path, env, steps=STEPS, action_repeat=REPEAT, seed=3, **options)
    collect(config, Console(file=io.StringIO()))
    return path


def render(source: Path, path: Path, **options: Any) -> RenderReport:
    options = {"size": SIZE, **options}
    return render_shard(RenderConfig(source, path, **options), Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def _physics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collected(tmp_path_factory.mktemp("shards") / "physics.h5", store_physics=True)


@pytest.fixture
def physics(_physics: Path, tmp_path: Path) -> Path:
    """A shard of states with those of the simulator."""
    return Path(shutil.copy(_physics, tmp_path / "physics.h5"))


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Black pictures, which need no OpenGL and no time."""

    def pictures(self: PixelObservations) -> dict[str, np.ndarray]:
        return {key: np.zeros((SIZE, SIZE, 3), np.uint8) for key in self._renderer.cameras}

    monkeypatch.setattr(PixelObservations, "pictures", pictures)
    monkeypatch.setattr(render_module, "working_backend", lambda: "none")


def assert_same_but_for_pictures(shard: Shard, other: Shard) -> None:
    assert shard.episodes.source_id == other.episodes.source_id
    for name in ("action", "reward", "terminated", "truncated", "physics"):
        np.testing.assert_array_equal(getattr(shard, name), getattr(other, name))
    for name in ("env_id", "action_repeat", "control_timestep"):
        assert getattr(shard.meta, name) == getattr(other.meta, name)
    np.testing.assert_array_equal(shard.obs["state"], other.obs["state"])


def test_rendering_while_collecting_afterwards_and_in_evaluation_is_the_same(
    gl: str, physics: Path, tmp_path: Path
) -> None:
    cameras = ("side", "back")
    at_once = collected(tmp_path / "once.h5", store_physics=True, pixels=SIZE, camera=cameras)
    report = render(physics, tmp_path / "later.h5", camera=("0", "1"))
    now, later = read_shard(at_once, verify=True), read_shard(report.path, verify=True)
    assert list(now.obs) == list(later.obs) == ["pixels", "pixels_back", "state"]
    for key in ("pixels", "pixels_back"):
        assert now.obs[key].shape == (STEPS + 2, SIZE, SIZE, 3)
        np.testing.assert_array_equal(now.obs[key], later.obs[key])
        assert now.obs[key].std() > 10
    assert_same_but_for_pictures(later, read_shard(physics))
    assert now.meta.renderer == later.meta.renderer
    assert later.meta.renderer is not None
    assert later.meta.renderer.backend == gl
    assert report.largest_error == 0.0
    assert report.num_pictures == 2 * (STEPS + 2)

    # what an agent sees, in a process of its own, of the same simulator states
    renderer = later.meta.renderer
    result = evaluate(RecordingAgent(), ENV, REPEAT, 2, seed=5, timeout=120, renderer=renderer)
    env, scene = make_env(ENV, REPEAT), Scene(ENV, renderer)
    states = []
    for seed in (5, 6):
        env.reset(seed)
        states.append(env.physics_state())
    expected = scene.render(np.stack(states)).pictures
    scene.close()
    for key, pictures in expected.items():
        np.testing.assert_array_equal(result.first_obs[key], pictures)


class RecordingAgent:
    def initial_state(self, num: int) -> None:
        return None

    def act(self, obs: dict[str, np.ndarray], state: None) -> tuple[np.ndarray, None]:
        assert obs["pixels"].shape == (len(obs["state"]), SIZE, SIZE, 3)
        return np.zeros((len(obs["state"]), 6)), None


def test_pictures_alone_and_where_they_come_from(
    blank: None, physics: Path, tmp_path: Path
) -> None:
    report = render(physics, tmp_path / "out.h5", no_states=True, camera=("back",))
    shard = read_shard(report.path, verify=True)
    assert list(shard.obs) == ["pixels"]
    provenance = shard.meta.provenance
    assert provenance["command"] == (
        f"lawm data render {physics} {report.path} --size {SIZE} --camera back --no-states"
    )
    (source,) = provenance["sources"]
    assert source["checksum"] == read_shard(physics).meta.checksum
    assert source["provenance"]["seed"] == 3

    with pytest.raises(LawmError, match="has observations pixels already"):
        render(report.path, tmp_path / "again.h5")
    with pytest.raises(LawmError, match="named twice"):
        render(physics, physics, overwrite=True)
    with pytest.raises(LawmError, match="exists already"):
        render(physics, report.path)


def test_states_of_the_simulator_from_observations(
    blank: None, physics: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.h5"
    with h5py.File(shutil.copy(physics, plain), "r+") as file:
        del file["physics"]
    report = render(plain, tmp_path / "out.h5", from_observations=True)
    assert report.largest_error < 1e-6
    shard = read_shard(report.path)
    assert shard.physics is None
    assert shard.meta.provenance["physics"] == "from observations"


@pytest.mark.slow
def test_several_processes_give_the_same(gl: str, physics: Path, tmp_path: Path) -> None:
    one, two = (
        read_shard(render(physics, tmp_path / f"{n}.h5", workers=n).path, verify=True)
        for n in (1, 2)
    )
    assert one.meta.checksum == two.meta.checksum


@pytest.mark.slow
def test_rollouts_of_sac_have_pictures_and_its_learning_is_as_without(
    gl: str, tmp_path: Path
) -> None:
    pytest.importorskip("stable_baselines3")
    options: dict[str, Any] = {"policy": "sac", "keep": "both", "checkpoint_every": 10}
    options |= {"rollout_episodes": 1}
    blind = read_shard(collected(tmp_path / "blind.h5", **options))
    seeing = read_shard(collected(tmp_path / "seeing.h5", pixels=SIZE, no_states=True, **options))
    assert list(seeing.obs) == ["pixels"]
    assert blind.episodes.source_id == seeing.episodes.source_id
    np.testing.assert_array_equal(blind.action, seeing.action)


def test_states_that_do_not_give_the_observations_are_refused(
    blank: None, physics: Path, tmp_path: Path
) -> None:
    shard = read_shard(physics)
    assert shard.physics is not None
    shard.physics[14, 2] += 0.01  # step 3 of episode 1
    wrong = tmp_path / "wrong.h5"
    with ShardWriter(
        wrong,
        action_low=shard.meta.action_low,
        action_high=shard.meta.action_high,
        env_id=ENV,
        provenance={"versions": {"mujoco": "2.3.7"}},
    ) as writer:
        for start, stop in ((0, 11), (11, 22)):
            writer.add_episode(
                {"state": shard.obs["state"][start:stop]},
                None,
                None,
                terminated=False,
                truncated=True,
                source_id="x",
                physics=shard.physics[start:stop],
            )
    before = sorted(tmp_path.iterdir())
    with pytest.raises(
        LawmError, match=r"episode 1 in .*wrong\.h5 .*at step 3 .*another MuJoCo \(.*2\.3\.7, here"
    ):
        render(wrong, tmp_path / "out.h5")
    assert sorted(tmp_path.iterdir()) == before


def test_a_scene_that_is_no_part_of_the_state_is_refused(blank: None, tmp_path: Path) -> None:
    reacher = collected(tmp_path / "reacher.h5", "dm_control/reacher-easy", store_physics=True)
    with pytest.raises(LawmError, match=r"such as a target, outside .*collect with --pixels"):
        render(reacher, tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == [reacher]


def test_ctrl_c_leaves_nothing(
    blank: None, physics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Iterator[None]:
        yield from original(*_)
        raise KeyboardInterrupt

    original = render_module.render_episodes
    monkeypatch.setattr(render_module, "render_episodes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        render(physics, tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == [physics]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "width of the pictures is 0"),
        ({"camera": ("top",)}, r"no camera 'top'. Its cameras: 0 \(side\), 1 \(back\)"),
        ({"workers": 0}, "--workers is 0"),
    ],
)
def test_options_that_make_no_sense(
    physics: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(LawmError, match=message):
        render(physics, tmp_path / "out.h5", **options)
    assert list(tmp_path.iterdir()) == [physics]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"env_id": ""}, "does not name its environment.*lawm data import --env"),
        ({"env_id": "dm_control/finger-spin"}, r"holds no simulator states.*--pixels\.$"),
        ({"env_id": "dm_control/walker-run"}, "holds no simulator states.*add --from-observations"),
        ({"env_id": "dm_control/walker-fly"}, "walker-fly.* does not exist"),
    ],
)
def test_shards_that_cannot_be_rendered(
    tmp_path: Path, facts: dict[str, Any], message: str
) -> None:
    source = write_shard(tmp_path / "source.h5", lengths=[3], **facts)
    with pytest.raises(LawmError, match=message):
        render(source, tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == [source]


def test_states_of_another_task_are_refused(physics: Path, tmp_path: Path) -> None:
    with h5py.File(physics, "r+") as file:
        file.attrs["env_id"] = np.bytes_(b"dm_control/hopper-hop")
    with pytest.raises(
        LawmError, match=r"has 18 numbers a row, but .*hopper-hop has 14: .*another"
    ):
        render(physics, tmp_path / "out.h5")


def test_without_a_renderer_nothing_is_written(
    physics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_works() -> str:
        raise LawmError("no off-screen renderer works")

    monkeypatch.setattr(render_module, "working_backend", none_works)
    with pytest.raises(LawmError, match="no off-screen renderer works"):
        render(physics, tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == [physics]
