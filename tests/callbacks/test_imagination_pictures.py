from __future__ import annotations

import dataclasses
import io

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from model_factory import SMALL
from PIL import Image
from quiet_trainer import quiet_trainer
from shard_factory import write_shard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lawm.callbacks.imagination_pictures import (
    ImaginationPicturesCallback,
    latent_action_frames,
    open_loop_frames,
)
from lawm.callbacks.picture_grid import colours, draw_grid
from lawm.data_modules import MixedTrajectoryDataModule
from lawm.imagined_actions import held_actions, imagine_held
from lawm.open_loop import open_loop
from lawm.rssm import ModelState
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import WorldModelModule

CONTEXT, WINDOW = 2, 6


@pytest.fixture
def data(tmp_path):
    path = write_shard(tmp_path / "a.h5", lengths=[12] * 5, counter=False, image=True)
    return MixedTrajectoryDataModule(
        [str(path)],
        labels="2",
        held_out="2",
        window=WINDOW,
        batch_size=4,
        observation_keys=["camera"],
    )


def make_module(data, **config):
    data.setup()
    torch.manual_seed(0)
    return WorldModelModule(data.spec, WorldModelConfig(**(SMALL | {"image_depth": 2} | config)))


def fit(data, folder, callbacks, **config):
    module = make_module(data, **config)
    trainer = quiet_trainer(
        2,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        log_every_n_steps=1,
        logger=pl.loggers.TensorBoardLogger(folder, name="", version=""),
        callbacks=callbacks,
    )
    torch.manual_seed(0)
    trainer.fit(module, data)
    return module


def test_moving_pictures_in_tensorboard_and_in_the_run_folder(data, tmp_path):
    folder = tmp_path / "pictures"
    watched = fit(data, tmp_path / "tb", [ImaginationPicturesCallback(folder, CONTEXT)])
    events = EventAccumulator(str(tmp_path / "tb"), size_guidance={"images": 0}).Reload()
    frames = {"open_loop_camera": WINDOW + 1, "latent_actions_camera": WINDOW - CONTEXT + 1}
    for name, num_frames in frames.items():
        images = events.Images(f"imagination/{name}")
        assert [image.step for image in images] == [1, 2]
        content = (folder / f"{name}.gif").read_bytes()
        assert images[-1].encoded_image_string == content
        picture = Image.open(io.BytesIO(content))
        assert (picture.format, picture.n_frames) == ("GIF", num_frames)
        assert (picture.width, picture.height) == (images[-1].width, images[-1].height)
    with Image.open(folder / "latent_actions_camera_still.png") as still:
        assert still.format == "PNG"

    plain = fit(data, tmp_path / "plain", [])
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert one.equal(other)  # looking changes nothing


@pytest.mark.parametrize("image_probe", [False, True])
def test_without_a_decoder_nothing_is_shown_but_by_a_probe(data, tmp_path, image_probe):
    folder = tmp_path / "pictures"
    callback = ImaginationPicturesCallback(folder, CONTEXT)
    settings = {"observation_loss": "redundancy_reduction", "image_probe": image_probe}
    fit(data, tmp_path / "tb", [callback], **settings)
    assert folder.exists() == image_probe


def in_pictures(module, data):
    """The model, whose decoded images are the first features, and a batch of black and white."""
    model = module.eval().model
    batch = next(iter(data.val_dataloader())).first_labelled(2)
    images = torch.arange(WINDOW + 1)[None, :, None, None, None].expand(2, -1, 8, 8, 3) * 40
    return model, dataclasses.replace(batch, obs={"camera": images.byte()})


@torch.no_grad()
def test_the_first_row_is_the_truth_and_the_second_the_models(data):
    model, batch = in_pictures(make_module(data), data)
    torch.manual_seed(1)
    observed = model.observe(batch)
    (frames,) = open_loop_frames(model, batch, observed, CONTEXT).values()
    assert len(frames) == WINDOW + 1
    imagined = open_loop(model, batch, observed, CONTEXT, "inverse").features
    features = torch.cat([observed.features[: CONTEXT + 1], imagined])
    expected = colours(model.observation_decoder.pictures(features)["camera"].numpy())
    for t, frame in enumerate(frames):
        cells = draw_grid(np.zeros((3, 2, 8, 8, 3), np.uint8), ["truth", "latent actions", ""], "")
        rows = np.flatnonzero((cells[:, -10] == 0).all(axis=-1))  # of the black cells
        column = frame[rows, -10]
        assert (column[10] == 40 * t).all()
        assert (column[96 + 10] == expected[t, 1, 0, 7]).all() or t == 0 or len(column) != 288


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
@torch.no_grad()
def test_held_latent_actions(data, kind):
    module = make_module(data, latent_action_kind=kind, latent_action_classes=4)
    model, batch = in_pictures(module, data)
    latent = model.latent_action.latent
    held = held_actions(latent, [2, 0], most=4)
    names = {
        "gaussian": ["prior", "u2 -2 std", "u2 +2 std", "u0 -2 std"],
        "categorical": ["prior", "u2 class 0", "u2 class 1", "u2 class 2"],
    }[kind]
    assert [action.name for action in held] == names
    prior = torch.randn(1, latent.num_params)
    u = torch.cat([latent.sample(prior, action.noise[None]) for action in held])
    assert u[0].allclose(latent.mode(prior)[0], atol=1e-6)
    if kind == "gaussian":
        mean, std = latent.mean_std(prior)
        torch.testing.assert_close(u[2], mean[0] + 2 * std[0] * torch.tensor([0.0, 0.0, 1.0]))
    else:
        assert u[1:].view(3, 3, 4)[:, 2].round().equal(torch.eye(4)[:3])

    observed = model.observe(batch)
    start = ModelState(observed.h[CONTEXT, 0], observed.z[CONTEXT, 0])
    features = imagine_held(model, start, held, horizon=3)
    assert features.shape == (4, 4, model.rssm.feature_size)
    assert features[0].equal(start.features.expand(4, -1))
    assert not features[-1, 1].allclose(features[-1, 2])
    moving, still = latent_action_frames(model, observed, CONTEXT, rows=4)
    assert len(moving["latent_actions_camera"]) == WINDOW - CONTEXT + 1
    assert still["latent_actions_camera"].dtype == np.uint8


def test_a_grid_shows_every_cell_at_its_place():
    shades = np.arange(6, dtype=np.uint8).reshape(2, 3) * 30 + 20
    cells = np.broadcast_to(shades[:, :, None, None, None], (2, 3, 64, 64, 3))
    picture = draw_grid(cells, ["one", "two"], "title")
    found = [int(s) for s in shades.flat if (picture == s).all(axis=-1).sum() >= 128 * 128]
    assert found == shades.flatten().tolist()


@pytest.mark.parametrize("channels", [1, 2, 3, 9])
def test_any_number_of_channels_becomes_a_picture(channels):
    images = np.full((2, 8, 8, channels), 100.6)
    assert (colours(images) == 101).all()
    assert colours(images).shape == (2, 8, 8, 3)
    assert (colours(images * 5) == 255).all()
