"""Looking into a file of unknown format.

A file that is of another format is told so; one that is damaged raises, with its name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lawm.data_modules.importers.importer import Recognition
from lawm.data_modules.safe_hdf5 import SafeHdf5, is_hdf5
from lawm.data_modules.safe_npz import SafeNpz, is_zip


def recognise_hdf5(source: Path, judge: Callable[[SafeHdf5], Recognition]) -> Recognition:
    """Judge an HDF5 file; whatever else ``source`` is, is not recognised.

    Raises:
        LawmError: It is an HDF5 file and damaged.
    """
    if not is_hdf5(source):
        return Recognition(False, "is no HDF5 file")
    with SafeHdf5(source) as file:
        return judge(file)


def recognise_npz(source: Path, judge: Callable[[SafeNpz], Recognition]) -> Recognition:
    """Judge a numpy archive; whatever else ``source`` is, is not recognised.

    Raises:
        LawmError: It is an archive and damaged.
    """
    if not source.is_file() or not is_zip(source):
        return Recognition(False, "is no numpy archive (.npz)")
    with SafeNpz(source) as archive:
        return judge(archive)


def has_keys(found: list[str], wanted: tuple[str, ...], kind: str) -> Recognition:
    """Whether all the wanted keys are there.

    Args:
        found: Those that are there.
        wanted: Those that the format has.
        kind: What the keys are of, such as "an archive".
    """
    missing = [key for key in wanted if key not in found]
    if not missing:
        return Recognition(True, f"{kind} with {', '.join(wanted)}")
    shown = ", ".join(found[:8]) + (" ..." if len(found) > 8 else "")
    return Recognition(False, f"has no {', '.join(missing)}, but {shown or 'nothing'}")


def refuse_links(file: SafeHdf5, *groups: str) -> None:
    """Refuse links in groups that hold a format's arrays: left out, they would only be missed.

    Args:
        file: The source.
        groups: Empty for the file itself; those that are not there are passed over.

    Raises:
        LawmError: Names the first link.
    """
    for group in groups:
        if group and not file.is_group(group):
            continue
        own = {*file.groups(group), *file.datasets(group)}
        for name in file.names(group):
            if name not in own:
                file.dataset(f"{group}/{name}".removeprefix("/"))  # says what it is instead


__all__ = ["has_keys", "recognise_hdf5", "recognise_npz", "refuse_links"]
