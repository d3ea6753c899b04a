"""Mutations of numpy archives and of folders: well-formed, but they mean something bad."""

from __future__ import annotations

import io
import math
import shutil
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

NUMBERS = (0, 1, -1, 2**31, -(2**31), np.nan, np.inf, -np.inf, 1e300)
TYPES = ("f2", "f4", "f8", ">f4", "i1", "i8", "u1", "u8", "?", "c8", "S4", "U2")
CANNOT = (
    *(OSError, LookupError, ValueError, TypeError, EOFError, ArithmeticError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, MemoryError, tokenize.TokenError, SyntaxError),
)
BOMB_BYTES = 2**22
ABSURD = (2**40, 2**62, 10**30, -1)  # rows that a header declares


def mutate_npz(path: Path, rng: np.random.Generator) -> str:
    """Change one member of an archive and write the archive anew, with right checksums.

    Returns:
        What was done.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
            packed = rng.random() < 0.5
        name = sorted(members)[rng.integers(len(members))]
        kind = sorted(KINDS)[rng.integers(len(KINDS))]
        KINDS[kind](members, name, rng)
    except CANNOT as error:
        return f"nothing: {type(error).__name__}"  # it is no archive, or was broken before
    compression = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", compression) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return f"{kind} {name}"


def _array(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data), allow_pickle=False)  # type: ignore[no-any-return]


def _bytes(values: np.ndarray, *, pickled: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=pickled)
    return stream.getvalue()


def _delete(members: dict[str, bytes], name: str, rng: np.random.Generator) -> None:
    del members[name]


def _swap(members: dict[str, bytes], name: str, rng: np.random.Generator) -> None:
    other = sorted(members)[rng.integers(len(members))]
    members[name], members[other] = members[other], members[name]


def _rename(members: dict[str, bytes], name: str, rng: np.random.Generator) -> None:
    names = ("obs.npy", "../x.npy", "a/b.npy", "action", ".npy", "observation.npy", "\u202e.npy")
    members[names[rng.integers(len(names))]] = members.pop(name)


def _retype(members: dict[str, bytes], name: str, rng: np.random.Generator) -> None:
    with np.errstate(all="ignore"):
        members[name] = _bytes(_array(members[name]).astype(TYPES[rng.integers(len(TYPES))]))


def _reshape(members: dict[str, bytes], name: str, rng: np.random.Generator) -> None:
    values = _array(members[name])
    shapes: list[Any] = [
        values[:-1],
        values[:0],
        values[None],
        values.reshape(-1),
        values[..., None],
        np.concatenate([values, values]),
        np.asfortranarray(values),
        np.float32(1.0),
    ]
    members[name] = _bytes(np.asarray(shapes[rng.integers(len(shapes))]))


def _number(members: dict[str, bytes], name: str, rng: np.random.Generator) -> None:
    values = _array(members[name]).copy()
    with np.errstate(all="ignore"):
        number = np.asarray(NUMBERS[rng.integers(len(NUMBERS))]).astype(values.dtype)
    values.reshape(-1)[rng.integers(values.size)] = number
    members[name] = _bytes(values)


def _objects(members: dict[str, bytes], name: str, rng: np.random.Generator) -> None:
    members[name] = _bytes(np.array([Path("x"), None], dtype=object), pickled=True)


def _header(members: dict[str, bytes], name: str, rng: np.random.Generator) -> None:
    """A header that declares other rows than there are, or is no header."""
    values = _array(members[name])
    rows = ABSURD[rng.integers(len(ABSURD))]
    shape = repr((rows, *values.shape[1:]))
    texts = [
        f"{{'descr': '{values.dtype.str}', 'fortran_order': False, 'shape': {shape}, }}\n",
        f"{{'descr': '|O', 'fortran_order': False, 'shape': {shape}, }}\n",
        "__import__('os').system('true')\n",
        "(" * 5000 + "\n",
        "{'descr': [('a', '<f4', (4, 4)), ('b', '|O')], 'fortran_order': 1, 'shape': (1,)}\n",
    ]
    text = texts[rng.integers(len(texts))].encode()
    start = npy.magic(1, 0) + struct.pack("<H", len(text)) + text
    members[name] = start + values.tobytes()


def _bomb(members: dict[str, bytes], name: str, rng: np.random.Generator) -> None:
    """Zeros that decompress to a thousand times their size."""
    step = _array(members[name]).shape[1:]
    rows = BOMB_BYTES // max(1, math.prod(step))
    members[name] = _bytes(np.zeros((rows, *step), np.uint8))


KINDS: dict[str, Callable[[dict[str, bytes], str, np.random.Generator], None]] = {
    "bomb": _bomb,
    "delete": _delete,
    "header": _header,
    "number": _number,
    "objects": _objects,
    "rename": _rename,
    "reshape": _reshape,
    "retype": _retype,
    "swap": _swap,
}


def mutate_folder(path: Path, rng: np.random.Generator) -> str:
    """Delete, rename, copy or empty a file, or exchange it with another of its folder.

    Returns:
        What was done.
    """
    others = sorted(f for f in path.parent.iterdir() if f.is_file() and f != path)
    if not others:
        return "nothing: the file is alone"
    other = others[rng.integers(len(others))]
    kind = ("delete", "rename", "copy", "exchange", "folder", "empty")[rng.integers(6)]
    if kind == "delete":
        path.unlink()
    elif kind == "rename":
        path.rename(path.with_name(f"a-{rng.integers(9)}-{rng.integers(9)}-3{path.suffix}"))
    elif kind == "copy":
        shutil.copyfile(path, path.with_name(f"{rng.integers(99)}{other.name}"))
    elif kind == "exchange":
        one, two = path.read_bytes(), other.read_bytes()
        path.write_bytes(two)
        other.write_bytes(one)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"")
    return f"{kind} {other.name if kind == 'exchange' else ''}".strip()


__all__ = ["mutate_folder", "mutate_npz"]
