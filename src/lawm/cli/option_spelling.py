"""Options with - or _ between their words: `--run-dir` is `--run_dir`, in every command."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator


def in_known_spelling(arguments: list[str], known: Collection[str]) -> list[str]:
    """The arguments, options that are known with another separator spelled as they are known.

    Args:
        arguments: Of the command line.
        known: Options, as "--run_dir".
    """
    spellings = {_folded(option): option for option in known}

    def spelled(argument: str) -> str:
        name, equals, value = argument.partition("=")
        if not name.startswith("--") or name in known:
            return argument
        stem = name.removesuffix("+")  # of `--data.shards+=more.h5`
        return f"{spellings.get(_folded(stem), stem)}{name[len(stem) :]}{equals}{value}"

    return [spelled(argument) for argument in arguments]


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every long option of a parser and of the commands below it."""
    for action in parser._actions:
        yield from (name for name in action.option_strings if name.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from options_of(command)


def _folded(option: str) -> str:
    return option.replace("_", "-")


__all__ = ["in_known_spelling", "options_of"]
