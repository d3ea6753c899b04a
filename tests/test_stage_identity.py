from __future__ import annotations

from dataclasses import replace

import pytest

from lawm.fit_config import FitConfig, StageConfig
from lawm.stage_identity import (
    cloning_inputs,
    differences,
    fingerprint,
    policy_inputs,
    unknown_to,
    world_model_inputs,
)
from lawm.world_model_config import WorldModelConfig

CONFIG = FitConfig(
    name="a",
    seed=0,
    data={"shards": ["a.h5"], "window": 8},
    inverse_dynamics={"learning_rate": 1e-3},
    world_model={"model": WorldModelConfig(deter=16), "learning_rate": 1e-3},
    policy={"horizon": 5},
    cloning={"learning_rate": 1e-3},
    start_states={"batch_size": 8},
    trainer={"precision": None, "devices": "auto", "log_every_n_steps": 50},
    stages={"world_model": StageConfig(max_steps=20), "policy": StageConfig(max_steps=10)},
)


def of_stage_1(config, content="data"):
    return fingerprint(world_model_inputs(config, content))


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, name="b"),
        replace(CONFIG, data={**CONFIG.data, "shards": ["moved/a.h5"]}),
        replace(CONFIG, policy={"horizon": 6}),
        replace(CONFIG, trainer={**CONFIG.trainer, "devices": "2", "log_every_n_steps": 5}),
        replace(CONFIG, stages={**CONFIG.stages, "policy": StageConfig(max_steps=11)}),
    ],
)
def test_what_does_not_touch_stage_1_keeps_its_fingerprint(config):
    assert of_stage_1(config) == of_stage_1(CONFIG)


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, seed=1),
        replace(CONFIG, data={**CONFIG.data, "window": 9}),
        replace(CONFIG, world_model={**CONFIG.world_model, "model": WorldModelConfig(deter=17)}),
        replace(CONFIG, trainer={**CONFIG.trainer, "precision": "bf16-mixed"}),
        replace(CONFIG, stages={**CONFIG.stages, "world_model": StageConfig(max_steps=21)}),
        replace(
            CONFIG,
            stages={
                **CONFIG.stages,
                "world_model": StageConfig(max_steps=20, gradient_clip_val=1.0),
            },
        ),
    ],
)
def test_what_touches_stage_1_changes_its_fingerprint(config):
    assert of_stage_1(config) != of_stage_1(CONFIG)


def test_other_data_change_the_fingerprint_of_both_stages():
    assert of_stage_1(CONFIG, "other") != of_stage_1(CONFIG)
    one, other = (policy_inputs(CONFIG, of_stage_1(CONFIG, data)) for data in ("data", "other"))
    assert fingerprint(one) != fingerprint(other)


def test_a_module_of_the_user_s_counts_in_the_stage_that_it_is_trained_in():
    own = StageConfig(max_steps=10, module="mine.Own")
    config = replace(CONFIG, stages={**CONFIG.stages, "policy": own})
    assert of_stage_1(config) == of_stage_1(CONFIG)
    assert differences(policy_inputs(CONFIG, "a"), policy_inputs(config, "a")) == [
        "stages.policy.module (absent there, mine.Own here)"
    ]
    assert cloning_inputs(config, "data") == cloning_inputs(CONFIG, "data"), "it clones no such"
    config = replace(CONFIG, stages={**CONFIG.stages, "world_model": replace(own, max_steps=20)})
    assert of_stage_1(config) != of_stage_1(CONFIG)


def test_differences_name_nested_keys_with_both_values():
    other = replace(CONFIG, world_model={**CONFIG.world_model, "model": WorldModelConfig(deter=17)})
    there, here = (world_model_inputs(config, "data") for config in (CONFIG, other))
    assert differences(there, here) == ["world_model.model.deter (16 there, 17 here)"]


def test_a_setting_that_is_new_differs():
    assert differences({"a": 1}, {"a": 1, "b": 2}) == ["b (absent there, 2 here)"]


def test_the_length_can_be_left_out():
    there, here = {"stages.policy.max_steps": 1, "a": 1}, {"stages.policy.max_steps": 2, "a": 1}
    assert differences(there, here) == ["stages.policy.max_steps (1 there, 2 here)"]
    assert differences(there, here, ignore_length=True) == []


def test_a_run_from_before_a_setting_goes_on_where_the_setting_changes_nothing():
    here = policy_inputs(replace(CONFIG, policy={"horizon": 5, "prior_distance": 0.3}), "w")
    older = {key: value for key, value in here.items() if key != "policy.prior_distance"}
    assert differences(older, here) == ["policy.prior_distance (0.0 there, 0.3 here)"]
    as_before = policy_inputs(replace(CONFIG, policy={"horizon": 5, "prior_distance": 0.0}), "w")
    assert differences(older, as_before) == []


def test_a_setting_that_older_runs_lack_keeps_the_fingerprint_at_their_value():
    inputs = world_model_inputs(CONFIG, "data")
    key = "world_model.options.share_weights"
    assert fingerprint({**inputs, key: False}) == fingerprint(inputs)
    assert fingerprint({**inputs, key: True}) != fingerprint(inputs)


def test_an_addition_to_stage_2_keeps_the_fingerprint_of_runs_before_it():
    before = policy_inputs(replace(CONFIG, policy={"horizon": 5}), "w")
    off = {"horizon": 5, "advantage_temperature": None, "advantage_updates": 20}
    here = policy_inputs(replace(CONFIG, policy=off), "w")
    assert differences(before, here) == []
    assert fingerprint(here) == fingerprint(before)
    on = policy_inputs(replace(CONFIG, policy={**off, "advantage_temperature": 0.5}), "w")
    assert differences(before, on) == [
        "policy.advantage_temperature (None there, 0.5 here)",
        "policy.advantage_updates (absent there, 20 here)",
    ]
    assert fingerprint(on) != fingerprint(before)


def test_a_resumed_run_keeps_what_its_configuration_could_not_say():
    older = {"world_model": {"options": {"free_nats": 0.5}, "model": {"free_running_share": 0.5}}}
    assert unknown_to(older) == {
        "world_model.model.reward_unit": None,
        "world_model.options.labelled_warmup_steps": 0,
        "world_model.options.share_weights": False,
    }
    known = {"labelled_warmup_steps": 0, "share_weights": True}
    assert unknown_to({"world_model": {"options": known}}) == {}
