"""A Trainer for tests: counts steps on the CPU, and shows and saves nothing."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl


def quiet_trainer(max_steps: int, **changes: Any) -> pl.Trainer:
    """With Lightning's own arguments where a test needs others."""
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": -1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(max_steps=max_steps, **(settings | changes))
