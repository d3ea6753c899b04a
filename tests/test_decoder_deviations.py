"""Known and inferred actions have deviations of their own in the action decoder."""

from __future__ import annotations

import dataclasses

import pytest
from model_factory import loss_of, make_batch, make_world_model_module

from lawm.world_model_loss import LossCoefficients, LossOptions

UNLABELLED = LossOptions(self_labels=False)


@pytest.mark.parametrize("variant", ["action", "latent"])
def test_what_is_inferred_badly_does_not_blur_what_is_known(variant):
    """The alignment alone moves the deviation of inferred actions, and not that of known ones."""
    of = LossCoefficients(
        **dict.fromkeys((f.name for f in dataclasses.fields(LossCoefficients)), 0.0)
    )
    for term, moved, kept in (
        ("align_action", "inverse_raw_std", "decoder_raw_std"),
        ("action", "decoder_raw_std", "inverse_raw_std"),
    ):
        module = make_world_model_module(
            variant, coefficients=dataclasses.replace(of, **{term: 1.0}), options=UNLABELLED
        )
        loss_of(module, make_batch())[0].backward()
        latent_action = module.model.latent_action
        assert getattr(latent_action, moved).grad.all()
        assert not getattr(latent_action, kept).grad.any()
