from __future__ import annotations

import pytest
import torch
from model_factory import OBS_DIM, VARIANTS, make_batch, make_model

from lawm.open_loop import last_frame, open_loop, standardised_error, targets
from lawm.rssm import ModelState

ROWS, WINDOW, CONTEXT = 6, 7, 2
variants = pytest.mark.parametrize("variant", VARIANTS)


@torch.no_grad()
def predict(model, batch, driven_by, context=CONTEXT, observed=None):
    return open_loop(model, batch, observed or observe(model, batch), context, driven_by)


@torch.no_grad()
def observe(model, batch):
    torch.manual_seed(1)
    return model.observe(batch)


def make(variant="action", seed=0):
    batch = make_batch(rows=ROWS, labelled=ROWS, window=WINDOW, seed=seed)
    return make_model(**VARIANTS[variant]).eval(), batch


@variants
@pytest.mark.parametrize("context", [0, 2, WINDOW - 1])
@pytest.mark.parametrize("driven_by", ["inverse", "action", "shuffled", "prior"])
def test_one_prediction_for_each_step_after_the_context(variant, driven_by, context):
    model, batch = make(variant)
    predicted = predict(model, batch, driven_by, context)
    assert predicted.observation["state"].shape == (WINDOW - context, ROWS, OBS_DIM)
    assert predicted.reward.shape == (WINDOW - context, ROWS)
    truth = targets(model, batch, observe(model, batch))
    error = standardised_error(model, predicted.observation, truth, context)
    assert error.shape == (WINDOW - context,)
    assert (error > 0).all()


@torch.no_grad()
def test_true_actions_reproduce_the_models_own_rollout(monkeypatch):
    model, batch = make()
    observed = observe(model, batch)
    monkeypatch.setattr(
        model.rssm.latent, "noise", lambda like, *shape: like.new_zeros(*shape, model.config.stoch)
    )
    state, rssm = ModelState(observed.h[CONTEXT], observed.z[CONTEXT]), model.rssm.bind()
    rollout = []
    for t in range(CONTEXT, WINDOW):
        state = model.imagine_step(rssm, state, batch.action[:, t])
        rollout.append(state.features)
    features = torch.stack(rollout)
    predicted = predict(model, batch, "action", observed=observed)
    expected = model.observation_decoder(features)["state"]
    torch.testing.assert_close(predicted.observation["state"], expected)
    torch.testing.assert_close(predicted.reward, model.reward(features))


@variants
def test_nothing_after_the_context_is_seen_but_through_the_latent_actions(variant):
    """Other frames after the context change nothing when the observed states are kept."""
    model, batch = make(variant)
    observed = observe(model, batch)
    other = make_batch(rows=ROWS, labelled=ROWS, window=WINDOW, seed=9)
    for driven_by in ("inverse", "prior"):
        one = predict(model, batch, driven_by, observed=observed)
        two = predict(model, other, driven_by, observed=observed)
        assert one.observation["state"].equal(two.observation["state"])


@variants
def test_shuffled_is_the_inverse_of_the_row_before(variant):
    """Two rows with one start: the shuffled prediction of a row is the other's own."""
    model, batch = make(variant)
    context = 0
    batch.obs["state"][:, 0] = batch.obs["state"][0, 0]  # all windows begin alike
    observed = observe(model, batch)
    object.__setattr__(observed, "z", observed.z[:, :1].expand_as(observed.z))
    right = predict(model, batch, "inverse", context, observed).observation["state"]
    shuffled = predict(model, batch, "shuffled", context, observed).observation["state"]
    torch.testing.assert_close(shuffled, right.roll(1, dims=1))
    if "categorical" not in variant:  # another row may have the same class
        assert not torch.allclose(shuffled, right)


@variants
def test_the_prior_ignores_which_actions_were_taken(variant):
    model, batch = make(variant)
    observed = observe(model, batch)
    before = predict(model, batch, "prior", observed=observed).observation["state"]
    batch.action.neg_()
    assert predict(model, batch, "prior", observed=observed).observation["state"].equal(before)
    if variant == "action":
        flipped = predict(model, batch, "action", observed=observed).observation["state"]
        batch.action.neg_()
        back = predict(model, batch, "action", observed=observed).observation["state"]
        assert not torch.allclose(flipped, back)


def test_the_last_frame_is_copied():
    _, batch = make()
    frames = last_frame({"state": batch.obs["state"].transpose(0, 1)}, CONTEXT)["state"]
    assert frames.shape == (WINDOW - CONTEXT, ROWS, OBS_DIM)
    for frame in frames:
        assert frame.equal(batch.obs["state"][:, CONTEXT])


def test_a_perfect_prediction_has_no_error_and_errors_count_in_deviations():
    model, batch = make()
    std = torch.tensor([1.0, 2.0, 4.0, 5.0, 10.0])
    model.observation_decoder.decoders[0].std.copy_(std)
    truth = targets(model, batch, observe(model, batch))
    later = truth["state"][CONTEXT + 1 :]
    assert standardised_error(model, {"state": later}, truth, CONTEXT).tolist() == [0.0] * 5
    ahead = torch.arange(WINDOW - CONTEXT)[:, None, None]  # one more deviation each step
    error = standardised_error(model, {"state": later + ahead * std}, truth, CONTEXT)
    torch.testing.assert_close(error, torch.tensor([0.0, 1.0, 4.0, 9.0, 16.0]))
