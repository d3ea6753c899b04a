"""Checks configuration keys before they are parsed, so that a typo costs one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from lawm.errors import LawmError
from lawm.safe_yaml import read_yaml

# Settings of Lightning or of a part that lawm sets itself, and where their meaning went.
SET_BY_LAWM = {
    "data.seed": "the order of the batches follows the run's `seed`; which episodes are labelled "
    "follows `data.label_seed`",
    "start_states.seed": "it follows the run's `seed`",
    "stages.policy.gradient_clip_val": "the policy's module clips actor and critic apart; set "
    "`policy.gradient_clip`",
    "stages.policy.val_check_interval": "stage 2 has no validation; set `evaluation.every_n_steps`",
    "stages.policy.limit_val_batches": "stage 2 has no validation",
    "trainer.gradient_clip_val": "set `stages.world_model.gradient_clip_val` and "
    "`policy.gradient_clip`",
    "trainer.logger": "a run logs to its tensorboard/ folder and to metrics.csv",
    "trainer.callbacks": "each stage has its own: set `stages.<stage>.callbacks`",
    "trainer.max_steps": "each stage has its own: `stages.world_model.max_steps` and "
    "`stages.policy.max_steps`",
    "trainer.max_epochs": "the data has no epochs; set `stages.<stage>.max_steps`",
    "trainer.max_time": "the length of a stage is `stages.<stage>.max_steps`",
    "trainer.val_check_interval": "set `stages.<stage>.val_check_interval`",
    "trainer.check_val_every_n_epoch": "the data has no epochs; set "
    "`stages.<stage>.val_check_interval`",
    "trainer.fast_dev_run": "it would save no checkpoint for stage 2; add `--config "
    "conf/debug.yaml` instead",
    "trainer.default_root_dir": "the folder of a run is `--run_dir`",
    "trainer.enable_checkpointing": "each stage saves last.ckpt for the next; set "
    "`stages.<stage>.checkpoint_every_n_steps`",
    "trainer.use_distributed_sampler": "the data module shares batches among processes itself",
    "allow_import": "what a configuration may import is not for itself to say; give "
    "`--allow-import MODULE` on the command line",
    "seed_everything": "the key is `seed`",
    "ckpt_path": "`--resume RUN` continues a run and `--world_model_from RUN` reuses its stage 1",
}


def check_config_file(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Read a YAML file and check its keys.

    Args:
        path: The file.
        known: Dotted names of all settings.

    Returns:
        Its content.

    Raises:
        LawmError: The file is missing, not plain YAML of a sensible size, not a mapping, or has an
            unknown key.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise LawmError(f"configuration {path} {what}; expected a YAML file{_nearby(path)}")
    content = read_yaml(path)
    if content is None:
        raise LawmError(f"configuration {path} is empty; expected settings, such as `seed: 1`.")
    if not isinstance(content, dict):
        raise LawmError(
            f"configuration {path} holds {type(content).__name__} where `key: value` pairs were "
            "expected, such as `seed: 1`."
        )
    for key in _dotted_keys(content, known):
        require_known(key, known, f"configuration {path}")
    return content


def check_options(arguments: list[str], known: Collection[str]) -> None:
    """Check the names of the options on a command line.

    Args:
        arguments: What follows `lawm fit`.
        known: Dotted names of all settings and flags.

    Raises:
        LawmError: An unknown option.
    """
    for argument in arguments:
        if argument.startswith("--") and len(argument) > 2:
            key = argument[2:].split("=", 1)[0].removesuffix("+")
            require_known(key, known, "the command line")


def require_known(key: str, known: Collection[str], where: str) -> None:
    """Refuse a key that names no setting.

    Raises:
        LawmError: With the nearest existing names, or with the reason why lawm sets it itself.
    """
    parts = key.split(".")
    # A key below a known one is a part of its value; a key above known ones takes a mapping.
    below = any(".".join(parts[:depth]) in known for depth in range(1, len(parts) + 1))
    if below or any(name.startswith(key + ".") for name in known):
        return
    for depth in range(len(parts), 0, -1):
        if reason := SET_BY_LAWM.get(".".join(parts[:depth])):
            raise LawmError(f"{where} sets `{key}`, which is not a setting of lawm: {reason}.")
    near = nearest_names(key, known)
    advice = f"Did you mean {' or '.join(f'`{name}`' for name in near)}" if near else "See"
    end = "? `lawm fit --help` lists all settings." if near else " `lawm fit --help` for a list."
    raise LawmError(f"{where} sets `{key}`, which is not a setting of lawm. {advice}{end}")


def nearest_names(key: str, known: Collection[str]) -> list[str]:
    """Up to three existing names that `key` may stand for, the likeliest first."""
    last = key.rsplit(".", 1)[-1]
    same_last = [name for name in sorted(known) if name.rsplit(".", 1)[-1] == last]
    alike = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.6)
    if alike or same_last:
        return list(dict.fromkeys(same_last[:3] or alike))
    last_names = {name.rsplit(".", 1)[-1]: name for name in sorted(known, reverse=True)}
    return [last_names[match] for match in difflib.get_close_matches(last, last_names, n=1)]


def _dotted_keys(content: dict[str, Any], known: Collection[str], above: str = "") -> Iterator[str]:
    for name, value in content.items():
        key = f"{above}{name}"
        if isinstance(value, dict) and value and key not in known:
            yield from _dotted_keys(value, known, key + ".")
        else:
            yield key


def _nearby(path: Path) -> str:
    """The YAML files that are there instead, as the end of a sentence."""
    folder = path if path.is_dir() else path.parent
    names = sorted(file.name for file in folder.glob("*.yaml")) if folder.is_dir() else []
    if not names:
        return "."
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5) or names[:5]
    return f" such as {', '.join(str(folder / name) for name in near)}."


__all__ = ["SET_BY_LAWM", "check_config_file", "check_options", "nearest_names", "require_known"]
