"""Mutations of an HDF5 file through its own library: well-formed files that mean something bad."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lawm.data_modules.shard_file import checksum
from lawm.data_modules.shard_format import fixed_text

ABSURD = 2**50  # rows that no disk holds
LARGEST_HASHED = 2**26  # bytes
CANNOT = (OSError, KeyError, ValueError, TypeError, RuntimeError, IndexError, MemoryError)
BOMB_BYTES = 2**22
DEPTH = 200  # of nested groups
NUMBERS = (0, 1, -1, 2**31, -(2**31), 2**62, -(2**62), np.nan, np.inf, -np.inf, 1e300)
TYPES = ("f2", "f4", "f8", ">f4", "i1", "i8", "u1", "u8", "?", "c8", "S4", "S1")


def mutate_hdf5(path: Path, rng: np.random.Generator) -> str:
    """Change objects, links, types, shapes or numbers of an HDF5 file in place.

    In half of the cases the checksums are adapted, so that what a checksum would have caught
    reaches the checks behind it.

    Returns:
        What was done.
    """
    try:
        with h5py.File(path, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            name = names[rng.integers(len(names))]
            is_group = isinstance(file[name], h5py.Group)
            kinds = [kind for kind in KINDS if kind in FOR_GROUPS or not is_group]
            kind = kinds[rng.integers(len(kinds))]
            KINDS[kind](file, name, rng)
            if rng.random() < 0.5:
                file.visititems(_adapt_checksum)
    except CANNOT as error:
        return f"nothing, or half: {type(error).__name__}"  # a mutation before this one broke it
    return f"{kind} {name}"


def _adapt_checksum(_: str, node: h5py.Group | h5py.Dataset) -> None:
    if isinstance(node, h5py.Dataset) and "sha256" in node.attrs and node.nbytes < LARGEST_HASHED:
        node.attrs["sha256"] = fixed_text(checksum(node[()]))


def _replace(file: h5py.File, name: str, make: Callable[[], object]) -> None:
    """Put another object in the place of one, with the attributes that it had."""
    attributes = dict(file[name].attrs)
    del file[name]
    make()
    if name in file:
        file[name].attrs.update(attributes)


def _delete(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    del file[name]


def _retype(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    with np.errstate(all="ignore"):
        values = np.nan_to_num(file[name][()]).astype(TYPES[rng.integers(len(TYPES))])
    _replace(file, name, lambda: file.create_dataset(name, data=values))


def _reshape(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    values = file[name][()]
    shapes: list[Any] = [
        values[:-1],
        values[:0],
        values[None],
        values.reshape(-1),
        np.concatenate([values, values]),
    ]
    chosen = shapes[rng.integers(len(shapes))]
    _replace(file, name, lambda: file.create_dataset(name, data=chosen))


def _number(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    values = file[name][()]
    number = NUMBERS[rng.integers(len(NUMBERS))]
    with np.errstate(all="ignore"):
        values.reshape(-1)[rng.integers(values.size)] = np.asarray(number).astype(values.dtype)
    file[name][...] = values


def _attribute(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    where = file if rng.random() < 0.7 else file[name]
    keys = list(where.attrs) or ["sha256"]
    values: list[Any] = [
        "",
        "x" * 1000,
        0,
        -1,
        2**60,
        np.nan,
        np.inf,
        [],
        [[1.0, 2.0]],
        b"\xff\xfe",
        h5py.Empty("f4"),
        True,
        np.zeros(3, "S2"),
    ]
    where.attrs[keys[rng.integers(len(keys))]] = values[rng.integers(len(values))]


def _link(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    links: list[Any] = [
        h5py.SoftLink("/nowhere"),
        h5py.SoftLink(f"/{name}"),  # to itself
        h5py.ExternalLink("/etc/hostname", "/"),
        h5py.ExternalLink(file.filename, f"/{name}"),
        file["/"],  # a cycle of hard links
    ]
    chosen = links[rng.integers(len(links))]
    del file[name]
    file[name] = chosen


def _virtual(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    layout = h5py.VirtualLayout(shape=shape, dtype=dtype)
    layout[...] = h5py.VirtualSource("missing.h5", "data", shape=shape)
    _replace(file, name, lambda: file.create_virtual_dataset(name, layout))


def _external(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    shape, dtype, size = file[name].shape, file[name].dtype, file[name].nbytes
    place = [("/etc/hostname", 0, size)]
    _replace(file, name, lambda: file.create_dataset(name, shape, dtype, external=place))


def _absurd(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    shape, dtype = (ABSURD, *file[name].shape[1:]), file[name].dtype
    chunks = (1, *shape[1:]) if rng.random() < 0.5 else None
    _replace(file, name, lambda: file.create_dataset(name, shape, dtype, chunks=chunks))


def _bomb(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    """Zeros that decompress to a thousand times their size."""
    dtype, step = file[name].dtype, file[name].shape[1:]
    shape = (BOMB_BYTES // max(1, math.prod(step) * dtype.itemsize), *step)
    _replace(
        file,
        name,
        lambda: file.create_dataset(name, data=np.zeros(shape, dtype), compression="gzip"),
    )


def _deep(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    file.create_group("/".join([name if name in ("obs", "episode") else "obs", *(["g"] * DEPTH)]))


def _objects(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    shape = file[name].shape
    kinds = [h5py.vlen_dtype(np.float32), h5py.string_dtype(), h5py.ref_dtype, [("x", "f4")]]
    chosen = np.dtype(kinds[rng.integers(len(kinds))])
    _replace(file, name, lambda: file.create_dataset(name, shape, chosen))


KINDS: dict[str, Callable[[h5py.File, str, np.random.Generator], None]] = {
    "delete": _delete,
    "retype": _retype,
    "reshape": _reshape,
    "number": _number,
    "attribute": _attribute,
    "link": _link,
    "virtual": _virtual,
    "external": _external,
    "absurd": _absurd,
    "bomb": _bomb,
    "deep": _deep,
    "objects": _objects,
}

FOR_GROUPS = {"delete", "attribute", "link", "deep"}

__all__ = ["mutate_hdf5"]
