from __future__ import annotations

import io
import json
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from model_factory import OBS_DIM, SMALL
from PIL import Image
from quiet_trainer import quiet_trainer
from shard_factory import write_shard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lawm.callbacks.latent_action_panel import LatentActionPanelCallback
from lawm.data_modules import MixedTrajectoryDataModule
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import WorldModelModule

SCALARS = (
    "held_out/shuffled_latent_ratio",
    "held_out/open_loop_error",
    "held_out/open_loop_error_true_actions",
    "held_out/copy_last_frame_error",
)
CONTEXT, WINDOW = 3, 8


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    path = write_shard(folder / "a.h5", lengths=[16] * 6, obs_dim=OBS_DIM, counter=False)
    return MixedTrajectoryDataModule(
        [str(path)], labels="2", held_out="2", window=WINDOW, batch_size=4
    )


def fit(data, folder, callbacks, max_steps=4):
    data.setup()
    torch.manual_seed(0)
    module = WorldModelModule(data.spec, WorldModelConfig(**SMALL))
    trainer = quiet_trainer(
        max_steps,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        log_every_n_steps=1,
        logger=pl.loggers.TensorBoardLogger(folder, name="", version=""),
        callbacks=callbacks,
    )
    torch.manual_seed(0)
    trainer.fit(module, data)
    return module


def read(folder):
    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


@pytest.fixture(scope="module")
def watched(data, tmp_path_factory):
    """A training with the callback: its module, TensorBoard's events and the file of figures."""
    folder = tmp_path_factory.mktemp("watched")
    file = folder / "run" / "panel.json"
    module = fit(data, folder / "tb", [LatentActionPanelCallback(file, context=CONTEXT)])
    return SimpleNamespace(module=module, events=read(folder / "tb"), file=file)


def test_r2_is_that_of_all_held_out_windows(data, tmp_path):
    """The page shows one number and judges by it; here of the windows of two batches."""
    file = tmp_path / "panel.json"
    assert len(data.val_dataloader()) == 1
    data.batch_size = 2
    try:
        assert len(data.val_dataloader()) > 1
        fit(data, tmp_path / "tb", [LatentActionPanelCallback(file, context=CONTEXT)])
    finally:
        data.batch_size = 4
    panel, events = json.loads(file.read_text()), read(tmp_path / "tb")
    for name in ("action_r2_inverse", "action_r2_action"):
        last = events.Scalars(f"held_out/{name}")[-1].value
        assert panel[name] == pytest.approx(last, rel=1e-5)


def test_each_validation_writes_a_picture_and_its_figures(watched):
    events = watched.events
    images = events.Images("open_loop")
    assert [image.step for image in images] == [2, 4]  # not in the sanity check
    pictures = [np.asarray(Image.open(io.BytesIO(i.encoded_image_string))) for i in images]
    for picture in pictures:
        assert picture.shape == (900, 800, 3)
        assert picture.dtype == np.uint8
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50  # lines, words, colours
    assert not np.array_equal(*pictures)
    for name in SCALARS:
        scalars = events.Scalars(name)
        assert [scalar.step for scalar in scalars] == [2, 4]
        assert all(0.0 < scalar.value < 100.0 for scalar in scalars)


def test_the_baseline_is_that_of_the_first_validation_batch(data, watched):
    batch = next(iter(data.val_dataloader()))
    obs = batch.obs["state"].numpy() / np.array(data.spec.observations["state"].std)
    expected = np.square(obs[:, CONTEXT + 1 :] - obs[:, CONTEXT : CONTEXT + 1]).mean()
    values = [s.value for s in watched.events.Scalars("held_out/copy_last_frame_error")]
    assert values == pytest.approx([expected, expected], rel=1e-4)


def test_training_is_the_same_with_and_without_it(data, watched, tmp_path):
    plain = fit(data, tmp_path / "plain", [])
    for one, other in zip(plain.parameters(), watched.module.parameters(), strict=True):
        assert one.equal(other)


def test_fewer_dimensions_make_a_picture_too(data, tmp_path):
    fit(
        data,
        tmp_path / "tb",
        [LatentActionPanelCallback(context=CONTEXT, dimensions=1)],
        max_steps=2,
    )
    image = read(tmp_path / "tb").Images("open_loop")[0]
    assert (image.width, image.height) == (800, 900)


def test_windows_that_the_context_fills_are_not_drawn(data, tmp_path):
    fit(data, tmp_path / "tb", [LatentActionPanelCallback(context=WINDOW)])
    events = read(tmp_path / "tb")
    assert "open_loop" not in events.Tags()["images"]
    assert not set(SCALARS) & set(events.Tags()["scalars"])


def test_the_verdict_and_all_figures_are_kept(watched):
    panel, events = json.loads(watched.file.read_text()), watched.events
    text = events.Tensors("latent_action/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert text == f"Latent action: {panel['verdict']}. {panel['reason']}"
    assert len(panel["rate_inverse"]) == len(panel["rate_action"]) == SMALL["latent_action"]
    latest = events.Scalars("held_out/shuffled_latent_ratio")[-1].value
    assert panel["shuffled_ratio"] == pytest.approx(latest)
    assert len(events.Images("latent_action_kl")) == 2
