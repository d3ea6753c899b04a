"""Both stages on images, by the command line."""

from __future__ import annotations

import json

import pytest
from shard_factory import write_shard
from tiny_runs import CONF, fit_arguments

from lawm.cli import main

PRESETS = ("pixels_small", "pixels_12m", "pixels_25m")
NO_ENVIRONMENT = ("--evaluation.env_id", "none")


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """Twelve labelled episodes of states and images of 8 x 8 pixels by the key `camera`."""
    path = tmp_path_factory.mktemp("data") / "a.h5"
    return write_shard(path, lengths=[20] * 12, counter=False, image=True)


def fit(shard, run_dir, *more):
    keys = ("--data.observation_keys", "[camera]")
    return main(fit_arguments(shard, run_dir, *keys, *NO_ENVIRONMENT, *more))


def test_a_run_on_images_alone(shard, tmp_path):
    """Start states, panel with a probe of the states beside, pictures, both stages."""
    assert fit(shard, tmp_path / "run") == 0
    world_model = tmp_path / "run" / "world_model"
    panel = json.loads((world_model / "panel.json").read_text())
    assert panel["probe_r2"].keys() == {"state"}
    assert {path.name for path in (world_model / "pictures").iterdir()} == {
        "open_loop_camera.gif",
        "latent_actions_camera.gif",
        "latent_actions_camera_still.png",
    }
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["data"]["observations"] == "camera (8, 8, 3)"
    assert report["stages"]["policy"]["steps"] == 10


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["reconstruction", "redundancy_reduction"])
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_stack(shard, tmp_path, preset, loss):
    """Sizes of the preset, the length of the debug preset, the image key of the tiny shard."""
    arguments = fit_arguments(shard, tmp_path / "run", *NO_ENVIRONMENT)
    assert arguments[:2] == ["fit", "--config"]
    before = ["fit", "--config", f"{CONF}/cheetah.yaml", "--config", f"{CONF}/{preset}.yaml"]
    more = ["--data.observation_keys", "[camera]", "--world_model.model.observation_loss", loss]
    assert main([*before, *arguments[1:], *more]) == 0


def test_keys_that_the_shards_lack_are_told(shard, tmp_path, capsys):
    arguments = fit_arguments(shard, tmp_path / "run", "--data.observation_keys", "[pixels]")
    assert main(arguments) == 2
    assert "asks for pixels, but" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
