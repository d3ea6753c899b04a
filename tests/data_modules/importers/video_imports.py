"""Videos imported with the options that a test names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import importing
from numpy.typing import NDArray

from lawm.data_modules.importers.import_report import ImportReport
from lawm.data_modules.importers.video_options import VideoOptions
from lawm.data_modules.shard_format import Shard

NO_CUTS = {"cut_threshold": 1.0}


def imported(source: Path, *more: Path, **options: Any) -> tuple[Shard, ImportReport]:
    """The options are those of videos, but for the first ones named here."""
    others = {
        k: options.pop(k)
        for k in ("env_id", "action_repeat", "control_timestep", "max_episode_steps", "keys")
        if k in options
    }
    return importing.imported(source, video=VideoOptions(**options), more_sources=more, **others)


def pictures(source: Path, **options: Any) -> NDArray[Any]:
    return imported(source, **options)[0].obs["pixels"]
