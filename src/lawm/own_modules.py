"""Modules of the user's own, which a stage trains in place of lawm's.

    lawm fit --config conf/cheetah.yaml --allow-import smooth \
        --stages.world_model.module smooth.SmoothWorldModel

A name is looked up among modules that are imported already, by ``--allow-import`` or by the user's
own program: neither a configuration nor a checkpoint causes an import.
"""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from lawm.errors import LawmError
from lawm.policy_module import LatentPolicyModule
from lawm.stage_module import StageModule
from lawm.world_model_module import WorldModelModule

ModuleT = TypeVar("ModuleT", bound=StageModule[Any])
NAME_KEY = "module"  # among the hyperparameters of a checkpoint


def world_model_module(name: str | None) -> type[WorldModelModule]:
    """The class that stage 1 trains.

    Args:
        name: Dotted name of a subclass; None: lawm's own.

    Raises:
        LawmError: See :func:`own_class`.
    """
    return own_class(name, WorldModelModule, "stages.world_model.module")


def latent_policy_module(name: str | None) -> type[LatentPolicyModule]:
    """The same of stage 2."""
    return own_class(name, LatentPolicyModule, "stages.policy.module")


def own_class(name: str | None, base: type[ModuleT], key: str) -> type[ModuleT]:
    """A subclass by its name.

    Args:
        name: As "smooth.SmoothWorldModel"; None: ``base``.
        base: What it must be a subclass of.
        key: Of the setting, for the sentence.

    Raises:
        LawmError: Its module is not imported or lacks it, or it is no subclass.
    """
    if name is None:
        return base
    place, _, attribute = name.rpartition(".")
    if not place:
        raise LawmError(
            f"{key} names `{name}`, which is in no module; expected the dotted name of a class of "
            "yours, such as smooth.SmoothWorldModel."
        )
    if place not in sys.modules:
        raise LawmError(
            f"{key} names `{name}`, but the module `{place}` is not imported. Add `--allow-import "
            f"{place}` to the command, or `import {place}` to a program before it loads the run."
        )
    found = getattr(sys.modules[place], attribute, None)
    if not isinstance(found, type) or not issubclass(found, base):
        what = "nothing of that name" if found is None else f"{found!r}"
        raise LawmError(
            f"{key} names `{name}`, which is {what}; expected a subclass of "
            f"{base.__module__}.{base.__qualname__}."
        )
    return found


def named(module: ModuleT, name: str | None) -> ModuleT:
    """Let the module's checkpoints say which class it is of, so that it is loaded as what it is."""
    if name is not None:
        module.save_hyperparameters({NAME_KEY: name})
    return module


__all__ = ["NAME_KEY", "latent_policy_module", "named", "own_class", "world_model_module"]
