"""q_free learns from few labels with dropout, and infers for the dynamics without."""

from __future__ import annotations

import torch
from model_factory import make_batch, make_model


def test_transitions_are_read_with_dropout_where_labels_teach_alone():
    torch.manual_seed(0)
    latent_action = make_model(action_dropout=0.5).train().latent_action
    transition = torch.randn(40, latent_action.inverse_input.linear.in_features)

    def read(with_labels):
        return latent_action.project_transition(transition, with_labels=with_labels)

    assert torch.equal(read(False), read(False))
    assert not torch.equal(read(True), read(True))
    latent_action.eval()
    assert torch.equal(read(True), read(False))


def test_with_all_noise_taken_out_of_s_the_inferred_actions_do_not_vary():
    """Of the dropouts none touches what enters the dynamics of action-free rows."""
    model = make_model(action_dropout=0.5, feature_dropout=0.5).train()
    model.rssm.latent.noise = lambda like, *shape: like.new_zeros(*shape, model.rssm.latent.size)
    batch = make_batch()
    first, second = (model.observe(batch) for _ in range(2))
    assert torch.equal(first.inferred_action, second.inferred_action)
    labelled = slice(0, batch.num_labelled)
    assert not torch.equal(
        first.inverse_posterior[:, labelled], second.inverse_posterior[:, labelled]
    )
