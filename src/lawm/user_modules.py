"""Modules that the user names with `--allow-import`: lawm imports them before it does anything.

They register environments, or define classes that a configuration names. Nothing is imported that
was not named on the command line.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lawm.errors import LawmError

_named: list[str] = []  # of this call; modules are the process's as well


def import_user_modules(names: Sequence[str]) -> None:
    """Import them, from what is installed or from the current folder.

    Args:
        names: Dotted names of modules, or of something in a module.

    Raises:
        LawmError: One is no dotted name, is not there, or cannot be imported.
    """
    _named.clear()
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise LawmError(
                f"--allow-import is `{name}`; expected the dotted name of a module or class, such "
                "as my_package.strategies."
            )
        with _current_folder():
            _import(name)
    _named.extend(names)


def user_modules() -> tuple[str, ...]:
    """Those that were imported."""
    return tuple(_named)


def allow_import_options() -> list[str]:
    """The options that import them again, for a command that is run, recorded or printed."""
    return [word for name in _named for word in ("--allow-import", name)]


def allowing(command: str) -> str:
    """A command for the user to type, with these options behind it."""
    return " ".join([command, *allow_import_options()])


def _import(name: str) -> None:
    parent, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, error) from error  # something that the module imports is missing
        if error.name == name and hasattr(sys.modules.get(parent), attribute):
            return
        raise LawmError(
            f"--allow-import names `{name}`, but there is no module `{error.name}`, neither "
            f"installed nor in the current folder {Path.cwd()}. Correct the name, start in the "
            "folder of the module, or add that folder to PYTHONPATH."
        ) from error
    except LawmError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> LawmError:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return LawmError(
        f"--allow-import names `{name}`, but importing it raised {type(error).__name__} at line "
        f"{last.lineno} of {last.filename}: {error}. Repair it; `python -c 'import {name}'` shows "
        "the whole trace."
    )


@contextmanager
def _current_folder() -> Iterator[None]:
    """Searched last, and only now: what lies there shadows no package, and is not found later."""
    here = str(Path.cwd())
    is_new = here not in sys.path
    if is_new:
        sys.path.append(here)
    try:
        yield
    finally:
        if is_new:
            sys.path.remove(here)


__all__ = ["allow_import_options", "allowing", "import_user_modules", "user_modules"]
