"""Mutations of any file: bytes cut, flipped, overwritten, moved and repeated."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# Sizes, counts and offsets at the edges of their types, where arithmetic goes wrong
EDGE_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
LONGEST_RUN = 64  # bytes that one mutation overwrites, moves or repeats


def mutate_bytes(path: Path, rng: np.random.Generator) -> str:
    """Change a file in place by one of the mutations.

    Returns:
        What was done, for the record of a finding.
    """
    data = bytearray(path.read_bytes())
    if not data:
        return "nothing: the file is empty"
    kind = ("cut", "flip", "edge", "random", "erase", "insert", "delete", "copy")[rng.integers(8)]
    at = int(rng.integers(len(data)))
    length = int(rng.integers(1, LONGEST_RUN + 1))
    if kind == "cut":
        del data[at:]
    elif kind == "flip":
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == "edge":
        width = int(rng.choice([1, 2, 4, 8]))
        number = int(EDGE_NUMBERS[rng.integers(len(EDGE_NUMBERS))]) % 256**width
        data[at : at + width] = number.to_bytes(width, "big" if rng.random() < 0.2 else "little")
    elif kind == "random":
        data[at : at + length] = rng.bytes(len(data[at : at + length]))
    elif kind == "erase":
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif kind == "insert":
        data[at:at] = rng.bytes(length)
    elif kind == "delete":
        del data[at : at + length]
    else:
        source = int(rng.integers(len(data)))
        data[at : at + length] = data[source : source + length]
    path.write_bytes(data)
    return f"{kind} at {at}"


__all__ = ["mutate_bytes"]
