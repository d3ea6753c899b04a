"""RL Unplugged is recognised by its framing and refused; the TFRecord writer is our own."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.registry import FORMATS, importer_named
from lawm.data_modules.importers.rl_unplugged import feature_names, masked_crc32c
from lawm.data_modules.importers.run_import import run_import
from lawm.errors import LawmError

PAIRS = ["action", "discount", "episodic_reward", "observation/position", "reward", "step_type"]


def delimited(number: int, data: bytes) -> bytes:
    size, length = b"", len(data)
    while length > 0x7F:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + data


def example(names: Sequence[str]) -> bytes:
    """A ``tf.train.Example`` of a list of 100 float zeros for every name."""
    values = delimited(2, delimited(1, bytes(400)))
    entries = (delimited(1, delimited(1, name.encode()) + delimited(2, values)) for name in names)
    return delimited(1, b"".join(entries))


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    parts = (length, data)
    return b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in parts)


def test_the_checksum_is_crc_32c() -> None:
    # RFC 3720, B.4: 32 bytes of zeros have the CRC-32C 0x8a9136aa
    crc = 0x8A9136AA
    assert masked_crc32c(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (PAIRS, r"SARSA pairs\) in random order"),
        (["action", "observation/walker/egocentric_camera"], "of 40 they could be used"),
        (["action", "observation:position"], "Real World RL .* save `obs`, `act` and `rew`"),
        (["x"], "an unknown kind"),
    ],
)
def test_a_set_is_refused_with_the_reason(
    tmp_path: Path, names: list[str], message: str, is_packed: bool
) -> None:
    data = record(example(names)) * 2
    path = tmp_path / "train-00000-of-00100"
    path.write_bytes(gzip.compress(data) if is_packed else data)
    for source in (path, tmp_path):
        found = [name for name in FORMATS if importer_named(name).recognises(source).found]
        assert found == ["rl-unplugged"]
        with pytest.raises(LawmError, match=f"{message}.* Usable instead are V-D4RL"):
            run_import(source, tmp_path / "out.h5", ImportOptions())


def test_names_of_an_example() -> None:
    assert feature_names(example(PAIRS)) == set(PAIRS)
    assert feature_names(example(PAIRS)[:-5]) == set()  # the one message that is whole is none


@pytest.mark.parametrize("content", [b"", b"hello, this is a text", record(b"abc")[:14]])
def test_what_is_no_tfrecord(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train-00000-of-00100"
    path.write_bytes(content)
    assert not importer_named("rl-unplugged").recognises(path).found
    with pytest.raises(LawmError, match="is no TFRecord file"):
        run_import(path, tmp_path / "out.h5", ImportOptions(format="rl-unplugged"))
