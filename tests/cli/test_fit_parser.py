from __future__ import annotations

import pytest
import yaml

from lawm.cli import main
from lawm.cli.fit_parser import parse_fit
from lawm.cli.fit_settings import build_parser
from lawm.errors import LawmError
from lawm.world_model_config import WorldModelConfig


@pytest.fixture
def configs(tmp_path):
    def write(**contents):
        arguments = []
        for name, content in contents.items():
            path = tmp_path / f"{name}.yaml"
            path.write_text(yaml.safe_dump(content))
            arguments += ["--config", str(path)]
        return arguments

    return write


def test_later_configs_win_and_the_command_line_wins_over_all(configs):
    arguments = configs(
        first={"data": {"shards": ["a.h5"], "window": 5, "batch_size": 5}, "seed": 5},
        second={"data": {"window": 6, "batch_size": 6}},
    )
    config = parse_fit([*arguments, "--data.batch_size", "7"]).config
    assert config.data["shards"] == ["a.h5"]
    assert (config.seed, config.data["window"], config.data["batch_size"]) == (5, 6, 7)


def test_nested_settings_become_what_the_modules_take(configs):
    arguments = configs(a={"data": {"shards": "a.h5"}, "world_model": {"model": {"deter": 7}}})
    config = parse_fit([*arguments, "--world_model.model.stoch", "3"]).config
    assert config.world_model["model"] == WorldModelConfig(deter=7, stoch=3)


def test_the_experiment_is_named_after_its_configs(configs):
    arguments = configs(cheetah={"data": {"shards": "a.h5"}}, debug={"seed": 1})
    assert parse_fit(arguments).config.name == "cheetah-debug"
    assert parse_fit([*arguments, "--name", "mine"]).config.name == "mine"


def test_the_saved_config_is_accepted_and_means_the_same(configs, tmp_path):
    arguments = configs(
        cheetah={"data": {"shards": ["a.h5"]}, "stages": {"policy": {"max_steps": 9}}}
    )
    first = parse_fit([*arguments, "--policy.constraint.epsilon", "2", "--stage", "policy"])
    saved = tmp_path / "config.yaml"
    saved.write_text(first.config_text)
    again = parse_fit(["--config", str(saved)])
    assert again.config == first.config
    assert again.config_text == first.config_text
    assert again.stage == "all"  # belongs to the call, not to the experiment


def test_print_config_prints_the_merged_configuration(configs, capsys):
    arguments = configs(a={"data": {"shards": ["a.h5"], "window": 5}})
    assert main(["fit", *arguments, "--data.window", "6", "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["window"] == 6
    assert printed["stages"]["policy"]["max_steps"] > 0


def test_print_config_can_leave_out_the_defaults(configs, capsys):
    arguments = configs(a={"data": {"shards": ["a.h5"], "window": 5}})
    assert main(["fit", *arguments, "--print_config=skip_default"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == {"data": {"shards": ["a.h5"], "window": 5}}


def test_help_lists_settings_with_their_meaning(capsys):
    assert main(["fit", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--world_model.model.deter" in text
    assert "--stages.policy.max_steps" in text


BAD = [
    ([], r"give a configuration, as in `lawm fit --config conf/cheetah.yaml`"),
    (["conf/cheetah.yaml"], r"Write `lawm fit --config conf/cheetah.yaml`"),
    (["--data.shards", "a.h5", "stray"], r"the command line has `stray`"),
    (["--data.shards", "a.h5", "more.yaml"], r"Write `--config more.yaml`"),
    (
        ["--data.shards", "a.h5", "--seed", "x"],
        r'"seed" is not accepted: expected int. Got value: x',
    ),
    (
        ["--data.shards", "a.h5", "--world_model.model.transition_input", "x"],
        r"expected one of \['action', 'latent', 'masked_action'\]. Got value: x",
    ),
    (
        ["--data.shards", "a.h5", "--stage", "x"],
        r"expected one of \['all', 'world_model', 'policy'\]",
    ),
    (["--data.shards", "a.h5", "--data.widow", "3"], r"Did you mean `data.window`\?"),
    (["--data.shards", "a.h5", "--trainer.max_steps", "3"], r"stages.world_model.max_steps"),
    (["--data.shards", "a.h5", "--stages.policy.max_steps", "0"], r"stages.policy.max_steps is 0"),
    (["--data.shards", "a.h5", "--policy_seed", "-1"], r"policy_seed is -1; expected a whole"),
    (["--data.shards", "a.h5", "--evaluation.episodes", "0"], r"evaluation.episodes is 0"),
    (["--config"], r"expected one argument"),
    (["--resume", "nowhere"], r"run folder nowhere does not exist"),
    (["--resume", __file__], r"test_fit_parser\.py is a file; expected the folder"),
    (["--resume", "a", "--run_dir", "b"], r"--resume a and --run_dir b exclude each other"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_command_line_is_one_sentence(arguments, message):
    with pytest.raises(LawmError, match=message) as caught:
        parse_fit(arguments)
    assert "\n" not in str(caught.value)


def test_resuming_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(LawmError, match="is not a run folder"):
        parse_fit(["--resume", str(tmp_path)])


def test_the_public_flags_and_groups_change_on_purpose_only():
    keys = build_parser().get_defaults().keys()
    modules = ("data", "inverse_dynamics", "world_model", "policy", "cloning", "start_states")
    assert sorted(key for key in keys if key.split(".")[0] not in modules) == [
        "allow_import",
        "compile",
        "config",
        "evaluation.env_id",
        "evaluation.episodes",
        "evaluation.every_n_steps",
        "evaluation.final_episodes",
        "evaluation.seed",
        "evaluation.timeout",
        "method",
        "name",
        "policy_seed",
        "pseudo_labels",
        "resume",
        "run_dir",
        "seed",
        "stage",
        "stages.inverse_dynamics.accumulate_grad_batches",
        "stages.inverse_dynamics.callbacks",
        "stages.inverse_dynamics.checkpoint_every_n_steps",
        "stages.inverse_dynamics.gradient_clip_val",
        "stages.inverse_dynamics.limit_val_batches",
        "stages.inverse_dynamics.log_every_n_steps",
        "stages.inverse_dynamics.max_steps",
        "stages.inverse_dynamics.precision",
        "stages.inverse_dynamics.val_check_interval",
        "stages.policy.accumulate_grad_batches",
        "stages.policy.callbacks",
        "stages.policy.checkpoint_every_n_steps",
        "stages.policy.log_every_n_steps",
        "stages.policy.max_steps",
        "stages.policy.module",
        "stages.policy.precision",
        "stages.world_model.accumulate_grad_batches",
        "stages.world_model.callbacks",
        "stages.world_model.checkpoint_every_n_steps",
        "stages.world_model.gradient_clip_val",
        "stages.world_model.limit_val_batches",
        "stages.world_model.log_every_n_steps",
        "stages.world_model.max_steps",
        "stages.world_model.module",
        "stages.world_model.precision",
        "stages.world_model.val_check_interval",
        "threads",
        "trainer.accelerator",
        "trainer.accumulate_grad_batches",
        "trainer.benchmark",
        "trainer.detect_anomaly",
        "trainer.deterministic",
        "trainer.devices",
        "trainer.limit_train_batches",
        "trainer.limit_val_batches",
        "trainer.log_every_n_steps",
        "trainer.num_nodes",
        "trainer.num_sanity_val_steps",
        "trainer.plugins",
        "trainer.precision",
        "trainer.profiler",
        "trainer.strategy",
        "trainer.sync_batchnorm",
        "world_model_from",
    ]


def test_a_resumed_run_of_before_a_setting_goes_on_without_it(tmp_path):
    text = parse_fit(["--data.shards", "a.h5"]).config_text
    assert "    share_weights: true\n" in text
    older = text.replace("    share_weights: true\n", "")
    (tmp_path / "config.yaml").write_text(older)
    resumed = ["--resume", str(tmp_path)]
    assert "    share_weights: false\n" in parse_fit(resumed).config_text
    asked = parse_fit([*resumed, "--world_model.options.share_weights", "true"]).config_text
    assert "    share_weights: true\n" in asked
