"""RL Unplugged's TFRecord files, which are recognised and refused with the reason.

Its sets for the DeepMind Control Suite hold pairs of neighbouring steps in random order, with
nothing that says which pairs make an episode: no world model can learn sequences from them.

A TFRecord file is a row of records: the length (uint64), its masked CRC-32C (uint32), as many bytes
and their masked CRC-32C. The bytes are a ``tf.train.Example``, a table from names to values. Only
the first record is read, to tell which of the sets it is.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NoReturn

from lawm.data_modules.importers.importer import Importer, Recognition, Source, SourceOptions
from lawm.errors import LawmError

HEADER = struct.Struct("<QI")
MAX_RECORD_BYTES = 64 << 20
GZIP_MAGIC = b"\x1f\x8b"
LENGTH_DELIMITED = 2  # the wire type of texts, bytes and messages in protobuf
CONVERT = (
    "lawm does not read TFRecord files: read them with TensorFlow and save `obs`, `act` and `rew` "
    "with numpy.savez"
)
INSTEAD = (
    "Usable instead are V-D4RL (walker, cheetah and humanoid, from pixels), ExORL (states, with "
    "rewards computed by --relabel), or trajectories of your own with `lawm data collect`."
)


class RLUnplugged(Importer):
    """See the module."""

    name = "rl-unplugged"
    summary = "RL Unplugged's TFRecord files: recognised, and refused with the reason"

    def recognises(self, source: Path) -> Recognition:
        """A first record whose length has the checksum that TFRecord gives it."""
        path = _first_file(source)
        if path is None or _first_record(path) is None:
            return Recognition(False, "is no TFRecord file")
        return Recognition(True, f"{path.name} is a TFRecord file")

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """Refuse it.

        Raises:
            LawmError: Always; says what the file holds, why that cannot be used and what can.
        """
        _refuse(source)
        yield  # pragma: no cover


def _refuse(source: Path) -> NoReturn:
    path = _first_file(source)
    record = None if path is None else _first_record(path)
    if record is None:
        raise LawmError(f"{source} is no TFRecord file. Leave out --format to detect the format.")
    names = feature_names(record)
    if any(name.startswith("observation:") for name in names):
        reason = f"whole episodes of the Real World RL suite. {CONVERT}"
    elif "observation/walker/egocentric_camera" in names:
        reason = (
            "parts of episodes of the locomotion suite. Of 2 steps they cannot be put together to "
            f"the sequences that a world model learns from; of 40 they could be used. {CONVERT}"
        )
    elif "episodic_reward" in names:
        reason = (
            "single transitions (SARSA pairs) in random order, which cannot be put together to the "
            "sequences that a world model learns from"
        )
    else:
        reason = f"TFRecord files of an unknown kind. {CONVERT}"
    raise LawmError(f"{source} holds {reason}. {INSTEAD}")


def _first_file(source: Path) -> Path | None:
    """The source, or the first file of a folder that is called as TFRecord files are."""
    if not source.is_dir():
        return source if source.is_file() else None
    try:
        names = ("tfrecord", "-of-0", "train-")
        files = sorted(f for f in source.iterdir() if f.is_file())
    except OSError:
        return None
    return next((f for f in files if any(name in f.name for name in names)), None)


def _first_record(path: Path) -> bytes | None:
    """The bytes of the first record, None where the file is not framed as TFRecord is."""
    try:
        with path.open("rb") as raw:
            is_packed = raw.read(2) == GZIP_MAGIC
        with gzip.open(path, "rb") if is_packed else path.open("rb") as file:
            header = file.read(HEADER.size)
            if len(header) < HEADER.size:
                return None
            length, checksum = HEADER.unpack(header)
            if checksum != masked_crc32c(header[:8]) or length > MAX_RECORD_BYTES:
                return None
            record = file.read(length)
    except (OSError, EOFError, zlib.error):
        return None
    return record if len(record) == length else None


def masked_crc32c(data: bytes) -> int:
    """The checksum of TFRecord: CRC-32C, turned by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _crc_table()[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _crc_table() -> tuple[int, ...]:
    """Of the Castagnoli polynomial, reflected."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


def feature_names(record: bytes) -> set[str]:
    """The names in a ``tf.train.Example``: Example{1: Features{1: Entry{1: name, 2: value}}}."""
    return {
        name.decode(errors="replace")
        for features in _messages(record)
        for entry in _messages(features)
        for name in _messages(entry)
    }


def _messages(data: bytes) -> Iterator[bytes]:
    """The parts of a message that have the number 1; ends where it cannot be read."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        size, at = _varint(data, at)
        if tag & 7 != LENGTH_DELIMITED or at + size > len(data):
            return
        if tag >> 3 == 1:
            yield data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    number = shift = 0
    while at < len(data) and shift < 70:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            break
    return number, at


IMPORTER = RLUnplugged()

__all__ = ["IMPORTER", "RLUnplugged", "feature_names", "masked_crc32c"]
