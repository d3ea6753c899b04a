"""What the world model in Python refuses, each in a sentence."""

from __future__ import annotations

import numpy as np
import pytest
from small_world_model import ACTION, OBS, ROWS, T, chosen, make, pictures

from lawm.errors import LawmError
from lawm.latent_state import LatentState

STATES = OBS["state"]


def changed(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("obs", "action", "message"),
    [
        (STATES, None, r"type ndarray; expected a mapping from each of the keys \['state'\]"),
        ({"pixels": STATES}, None, r"no key 'state'; it has \['pixels'\]"),
        ({"state": STATES[0, 0]}, None, r"shape \(5,\); expected \(T \+ 1, 5\).*value\[None\]"),
        ({"state": STATES[..., :3]}, None, r"shape \(3, 8, 3\); expected \(T \+ 1, 5\)"),
        ({"state": STATES[:, :0]}, None, r"shape \(3, 0, 5\); expected"),
        ({"state": changed(STATES, (1, 2, 3), np.nan)}, None, r"has nan at index \(1, 2, 3\)"),
        ({"state": np.full((8, 5), 1e300)}, None, r"has 1e\+300 at index \(0, 0\)"),
        ({"state": STATES.astype(str)}, None, "expected real numbers"),
        ({"state": [[1.0] * 5, [1.0] * 4]}, None, "is no array.*different lengths one by one"),
        (OBS, np.zeros((ROWS, T, 3)), r"action has shape \(3, 7, 3\); expected \(..., 2\)"),
        (OBS, ACTION[:, :-1], r"\(3, 6, 2\); expected \(3, 7, 2\).*one action for each step"),
        (OBS, ACTION[0], r"\(7, 2\); expected \(3, 7, 2\)"),
        (OBS, changed(ACTION, (0, 1, 1), np.inf), r"action has inf at index \(0, 1, 1\)"),
        (OBS, changed(ACTION, (0, 1, 1), 31.0), "has 31 in dimension 1.*are 10 and 30"),
        (OBS, changed(ACTION, (0, 1, 0), -1.0), "has -1 in dimension 0.*are 0 and 4"),
    ],
)
def test_what_does_not_fit_is_refused(obs, action, message):
    with pytest.raises(LawmError, match=message):
        make().encode(obs, action)


def test_an_action_that_was_rounded_is_within_its_bounds():
    model = make()
    rounded = changed(ACTION, (0, 1, 1), 30.000001)
    exact = changed(ACTION, (0, 1, 1), 30.0)
    np.testing.assert_allclose(
        model.encode(OBS, rounded).features, model.encode(OBS, exact).features, atol=1e-5
    )


def test_images_that_do_not_fit_are_refused():
    model = make(images=("camera",))
    with pytest.raises(LawmError, match="'camera' is of type float64; expected images of uint8"):
        model.encode(OBS | {"camera": pictures()["camera"] / 255.0})
    with pytest.raises(LawmError, match=r"'camera' \(3, 7\), 'state' \(3, 8\)"):
        model.encode(OBS | {"camera": pictures()["camera"][:, 1:]})


def test_actions_and_states_that_do_not_fit_each_other_are_refused():
    model = make()
    states, u = model.encode(OBS), chosen(model)
    with pytest.raises(LawmError, match=r"shape \(3, 8\) and latent_action of \(3, 7\).*:-1\]"):
        model.decode_action(states, u)
    with pytest.raises(LawmError, match=r"is a dict; expected a LatentState"):
        model.decode_action(OBS, u)
    with pytest.raises(LawmError, match=r"expected \(..., 16\) and \(..., 4\)"):
        model.prior(LatentState(states.h[..., :8], states.z))
    with pytest.raises(LawmError, match=r"z of the state has nan at index \(0, 0, 0\)"):
        model.prior(LatentState(states.h, changed(states.z, (0, 0, 0), np.nan)))
    with pytest.raises(LawmError, match=r"no state in the shape \(0, 8\)"):
        model.prior(states[:0])
    with pytest.raises(LawmError, match=r"no latent_action in the shape \(0,\)"):
        model.imagine(states[0, 0], latent_action=u[:0])
    with pytest.raises(LawmError, match="given both"):
        model.imagine(states[0, 0], latent_action=u, action=ACTION)
    with pytest.raises(LawmError, match="given neither latent_action nor action"):
        model.imagine(states[0, 0])
    with pytest.raises(LawmError, match=r"latent_action has shape \(3,\); expected \(H, 3\)"):
        model.imagine(states[0, 0], latent_action=u[0, 0])
    with pytest.raises(LawmError, match=r"latent_action has shape \(3, 7, 2\); expected \(..., 3"):
        model.imagine(states[0, 0], latent_action=u[..., :2])


def test_a_categorical_latent_action_that_is_not_one_hot_is_refused():
    model = make("action_categorical")
    with pytest.raises(LawmError, match=r"not one-hot.*3 groups of 8 classes"):
        model.decode_action(model.encode(OBS), np.full((ROWS, T + 1, 24), 0.5))
