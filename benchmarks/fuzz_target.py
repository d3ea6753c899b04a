"""What the fuzzer reads: the interface that a reader or an importer gives itself to be fuzzed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lawm.benchmarks.fuzz_bytes import mutate_bytes

Mutation = Callable[[Path, np.random.Generator], str]  # changes a file in place, says what it did


@dataclass(frozen=True)
class FuzzTarget:
    """One reader under test.

    Attributes:
        name: For the command line and the findings.
        make_seeds: Writes small valid inputs into an empty folder and returns their paths, each a
            file or a folder. Small ones: a mutation then hits structure rather than numbers.
        read: Reads an input; the second argument is an empty folder for what it writes. It may
            return or raise ``LawmError``; anything else is a finding.
        mutations: One to three are drawn and applied in this order: those that need a file that
            opens come before those of bytes.
    """

    name: str
    make_seeds: Callable[[Path], list[Path]]
    read: Callable[[Path, Path], object]
    mutations: tuple[Mutation, ...] = (mutate_bytes,)


__all__ = ["FuzzTarget", "Mutation"]
