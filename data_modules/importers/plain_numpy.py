"""A plain numpy archive (``numpy.savez``) of E episodes of T steps each.

    obs  (E, T + 1, D) float states or (E, T + 1, H, W, C) uint8 images
    act  (E, T, A)     the action taken at ``obs[:, t]``, in the environment's units; optional
    rew  (E, T)        the reward of that transition, summed over the action repeat; optional

``act`` and ``rew`` may also have a row for every observation; then the archive does not say which
of the two conventions they follow. Every episode is taken to end by its time limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from lawm.data_modules.importers.importer import (
    Importer,
    ObservationField,
    RawEpisode,
    Recognition,
    Source,
    SourceFacts,
    SourceOptions,
)
from lawm.data_modules.importers.recognition import has_keys, recognise_npz
from lawm.data_modules.safe_npz import SafeNpz
from lawm.errors import LawmError

RANKS = {"obs": (3, 4, 5), "act": (3,), "rew": (2, 3)}


class PlainNumpy(Importer):
    """See the module."""

    name = "numpy"
    summary = "numpy archive: obs (E, T + 1, D) and, where known, act (E, T, A), rew (E, T)"

    def recognises(self, source: Path) -> Recognition:
        """An archive with the array ``obs``."""
        return recognise_npz(source, lambda a: has_keys(a.names, ("obs",), "a numpy archive"))

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        with SafeNpz(source) as archive:
            yield _Archive(archive)


class _Archive(Source):
    def __init__(self, archive: SafeNpz) -> None:
        self._archive = archive
        if "obs" not in archive:
            raise LawmError(
                f"{archive.path} holds the arrays {sorted(archive.names)}; expected `obs` "
                "(E, T + 1, D) and, where known, `act` (E, T, A) and `rew` (E, T)."
            )
        headers = {name: archive.header(name) for name in RANKS if name in archive}
        for name, (shape, dtype) in headers.items():
            if len(shape) not in RANKS[name] or dtype.kind not in "fiu":
                ranks = " or ".join(map(str, RANKS[name]))
                raise LawmError(
                    f"`{name}` of {archive.path} has type {dtype} and shape {shape}; expected "
                    f"numbers along {ranks} axes."
                )
        shape, dtype = headers["obs"]
        self._num, self._rows = shape[:2]
        self._steps = {name: headers[name][0][1] for name in headers.keys() - {"obs"}}
        for name, steps in self._steps.items():
            if headers[name][0][0] != self._num or steps not in (self._rows - 1, self._rows):
                raise LawmError(
                    f"`{name}` of {archive.path} has shape {headers[name][0]} beside `obs` of "
                    f"shape {shape}; expected {self._num} episodes of {self._rows - 1} steps, one "
                    f"fewer than there are observations, or of {self._rows}."
                )
        name = "image" if dtype == np.uint8 and len(shape) > 3 else "state"
        self.observations = {"obs": ObservationField(shape[2:], dtype, name)}
        others = sorted(set(archive.names) - set(RANKS))
        self.facts = SourceFacts(
            files=(archive.path,),
            num_episodes=self._num,
            left_out=dict.fromkeys(others, "not one of obs, act and rew"),
        )
        self.notes = []

    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """See :class:`Source`."""
        names = [*keys, *self._steps]
        with ExitStack() as stack:
            rows = {name: stack.enter_context(self._archive.rows(name)) for name in names}
            for episode in range(self._num):
                part = {name: array.read(1)[0] for name, array in rows.items()}
                yield RawEpisode(
                    num_rows=self._rows,
                    obs={key: part[key] for key in keys},
                    action=part.get("act"),
                    reward=part.get("rew"),
                    terminated=False,
                    truncated=True,
                    source_id=f"{self._archive.path.stem}/{episode}",
                )


IMPORTER = PlainNumpy()

__all__ = ["IMPORTER", "PlainNumpy"]
