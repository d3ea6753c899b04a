"""How Lightning's Trainer reads and writes checkpoints: see :mod:`lawm.checkpoint_file`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO

from lawm.checkpoint_file import read_checkpoint, write_checkpoint


class VerifiedCheckpointIO(CheckpointIO):
    """Atomic writes and verified reads.

    ``storage_options={"previous": path}`` of ``Trainer.save_checkpoint`` keeps there what the new
    checkpoint replaces. Lightning's own writer moves the file from the system's temporary folder,
    which is no atomic step where that is another disk.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Mapping[str, Path] | None = None,
    ) -> None:
        """Write it."""
        write_checkpoint(checkpoint, Path(path), (storage_options or {}).get("previous"))

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: object = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read it: always plain data, always to the CPU."""
        del map_location, weights_only
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete it."""
        Path(path).unlink(missing_ok=True)


__all__ = ["VerifiedCheckpointIO"]
