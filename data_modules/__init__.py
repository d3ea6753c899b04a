"""Trajectories on disk to batches.

The data module is imported on first use, so that what only reads or writes shards needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule

__all__ = ["MixedTrajectoryDataModule"]


def __getattr__(name: str) -> type[MixedTrajectoryDataModule]:
    if name == "MixedTrajectoryDataModule":
        from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule

        return MixedTrajectoryDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ != "lawm.data_modules":
    raise ImportError("Import lawm.data_modules: data_modules alone is not a package.")
