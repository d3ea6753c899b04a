"""Numbers out of their range: a sentence each, before anything is done."""

from __future__ import annotations

import pytest

from lawm.cli.fit_parser import parse_fit
from lawm.cli.fit_settings import build_parser
from lawm.cli.setting_ranges import GROUPS, RANGES, check_ranges
from lawm.errors import LawmError

# What the part that reads it checks itself, as only that knows what else it depends on.
CHECKED_ELSEWHERE = {
    *("before", "after", "epsilon", "max_states"),
    *("image_depth", "image_std", "image_shift", "image_decoded_share"),
}


def numbers(prefix="", settings=None):
    """Key and default of each number in the groups."""
    settings = build_parser().get_defaults().as_dict() if settings is None else settings
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from numbers(f"{prefix}{name}.", value)
        elif type(value) in (int, float) and prefix.split(".")[0] in GROUPS:
            yield f"{prefix}{name}", value


def test_every_number_has_a_range_and_its_default_lies_in_it():
    found = list(numbers())
    last = {key.rpartition(".")[2] for key, _ in found}
    assert len(found) > 60
    assert last - CHECKED_ELSEWHERE <= set(RANGES)
    optional = {
        *("inverse_kl_gradient", "reward_unit"),
        "disagreement_quantile",
    }
    assert set(RANGES) - last == optional, "None by default, all others are numbers"
    check_ranges(build_parser().get_defaults().as_dict())


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("policy.horizon", "0", "expected a whole number from 1"),
        ("world_model.model.deter", "-8", "expected a whole number from 1"),
        ("world_model.model.stoch_classes", "1", "expected a whole number from 2"),
        ("world_model.model.feature_dropout", "1", "expected a number from 0 and below 1"),
        ("inverse_dynamics.model.dropout", "1.5", "expected a number from 0 and below 1"),
        ("cloning.learning_rate", "-1", "expected a number above 0"),
        ("world_model.learning_rate", ".nan", "expected a number above 0"),
        ("policy.learning_rate", ".inf", "expected a number above 0"),
        ("world_model.weight_decay", "-0.1", "expected a number from 0"),
        ("world_model.options.kl_balance", "7", "expected a number from 0 to 1"),
        ("world_model.options.inverse_kl_gradient", "-1", "expected a number from 0 to 1"),
        ("world_model.coefficients.reward", "-1", "expected a number from 0"),
        ("world_model.model.reward_unit", "0", "expected a number above 0"),
        ("world_model.rate.target", "0", "expected a number above 0"),
        ("world_model.options.labelled_warmup_steps", "-1", "expected a whole number from 0"),
        ("world_model.options.labelled_warmup_steps", "9999999", "ever be trained on. Lower it"),
        ("policy.gamma", "1", "expected a number from 0 and below 1"),
        ("policy.target_rate", "0", "expected a number above 0 to 1"),
        ("start_states.batch_size", "0", "expected a whole number from 1"),
        ("world_model.model.action_min_std", "0.9", "more than action_max_std, 0.1"),
    ],
)
def test_a_number_out_of_its_range_is_a_sentence(option, value, sentence):
    with pytest.raises(LawmError) as caught:
        parse_fit(["--data.shards", "any.h5", f"--{option}", value])
    assert str(caught.value).startswith(f"{option} is ")
    assert sentence in str(caught.value)


def test_both_deviations_of_decoded_actions_lie_above_the_least():
    low = ["--data.shards", "any.h5", "--world_model.model.inverse_max_std", "0.01"]
    with pytest.raises(LawmError, match=r"action_min_std is 0.05, more than inverse_max_std, 0.01"):
        parse_fit(low)


def test_a_warmup_on_labelled_rows_that_weigh_nothing_is_a_sentence():
    options = ["--data.shards=[a.h5]", "--world_model.options.labelled_warmup_steps", "5"]
    with pytest.raises(LawmError, match="nothing would train in these updates"):
        parse_fit([*options, "--world_model.options.labelled_weight", "0"])
