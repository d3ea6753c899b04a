"""Fills the templates, and writes a page where nothing else is lost."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import lawm
from lawm.atomic_write import write_atomically
from lawm.errors import LawmError
from lawm.return_number import return_number

MARK = '<meta name="generator" content="lawm report'  # of the pages that may be replaced
_HEAD_BYTES = 4096  # within which the mark stands


def render(template: str, context: Mapping[str, Any]) -> str:
    """A page.

    All that the context holds is escaped but ``Markup``. The page's own policy forbids it to fetch
    anything and to run any script but the one of the template.

    Args:
        template: File in ``templates/``.
        context: What the template shows.
    """
    environment = Environment(
        loader=PackageLoader("lawm.html_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "plain": plain, "return_number": return_number}
    assert environment.loader is not None
    script = environment.loader.get_source(environment, "sort.js")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        **context,
        version=lawm.__version__,
        style=Markup(environment.loader.get_source(environment, "style.css")[0]),
        script=Markup(script),
        script_digest=digest,
    )


def check_page_path(path: Path) -> None:
    """Refuse to replace what is no page of `lawm report`.

    Raises:
        LawmError: The path is a folder, or a file that something else wrote.
    """
    if path.is_dir():
        raise LawmError(f"--out {path} is a folder; expected a file, such as {path}/report.html.")
    if not path.exists():
        return
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES) if path.is_file() else b""
    if MARK.encode() not in head:
        raise LawmError(
            f"{path} exists and is not a page that `lawm report` wrote; lawm overwrites nothing "
            "else. Move it away, or give another --out."
        )


def write_page(path: Path, html: str) -> None:
    """Put the page in place as a whole.

    Raises:
        LawmError: See :func:`check_page_path`.
    """
    check_page_path(path)
    write_atomically(path, html)


def duration(seconds: float | None) -> str:
    """As "1 h 02 min" or "3 min 20 s"."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours:,} h {minutes:02d} min"
    return f"{minutes} min {left:02d} s" if minutes else f"{left} s"


def plain(value: object) -> str:
    """A value of a file for people: few digits, thousands apart, lists without brackets."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value)
    return str(value)


__all__ = ["MARK", "check_page_path", "duration", "plain", "render", "write_page"]
