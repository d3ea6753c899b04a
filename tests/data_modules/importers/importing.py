"""A source imported into a shard beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.import_report import ImportReport
from lawm.data_modules.importers.run_import import run_import
from lawm.data_modules.shard_format import Shard
from lawm.data_modules.shard_reader import read_shard


def imported(source: Path, **options: Any) -> tuple[Shard, ImportReport]:
    """The whole shard, its checksums compared, and what was told of it."""
    path = source.parent / "out.h5"
    report = run_import(source, path, ImportOptions(overwrite=True, **options))
    return read_shard(path, verify=True), report
