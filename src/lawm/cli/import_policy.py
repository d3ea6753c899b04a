"""Which classes a configuration may name: lawm's, Lightning's, and those the user vouches for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jsonargparse import set_parsing_settings

from lawm.errors import LawmError

TRUSTED = ("lawm", "lightning")
_DENIED = re.compile(r"Importing '([\w.]+)' is not allowed")


@contextmanager
def only_trusted_imports(also: Sequence[str]) -> Iterator[None]:
    """While it is open, the parser imports nothing else that a value names.

    A value such as ``trainer.profiler.class_path`` is imported by its name, and importing runs
    code. The parser refuses before it imports, by the name given and by where the object is really
    defined.

    Args:
        also: Dotted names of modules that are allowed too.
    """
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*TRUSTED, *also],
        instantiate_subclass_spec_in_any=False,
    )
    try:
        yield
    finally:  # the parser's settings are the process's
        again_denied = [name for name in also if name not in TRUSTED]
        set_parsing_settings(import_path_denylist=["*", *again_denied])


def denied_import(problem: str) -> str | None:
    """A sentence if this message of the parser is about an import that was refused."""
    found = _DENIED.search(problem)
    if found is None:
        return None
    return _sentence("the configuration", found[1])


def refuse_class_as_text(key: str, value: object) -> None:
    """Refuse a text that should have become a class and was left as it is.

    These settings take a class or a short name ("ddp"), so a class that is refused is read as a
    name.

    Raises:
        LawmError: The text has a dot or a brace, which no short name has.
    """
    if isinstance(value, str) and ("." in value or "{" in value):
        raise LawmError(_sentence(f"`{key}`", value))


def _sentence(where: str, name: str) -> str:
    return (
        f"{where} names `{name}`, which is no class of {' or '.join(TRUSTED)}, or one with wrong "
        "arguments; others are not imported, as that could run anything. If you trust it, add "
        "`--allow-import MODULE` on the command line."
    )


__all__ = ["TRUSTED", "denied_import", "only_trusted_imports", "refuse_class_as_text"]
