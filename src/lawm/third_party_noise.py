"""Keeps adverts and known, harmless remarks of libraries out of a run's output."""

from __future__ import annotations

import logging
import threading
import warnings

# Said at each Trainer, so twice in a run; none of them is about the run.
_REMARKS = (
    "litlogger",
    "litmodels",
    "GPU available",
    "TPU available",
    "HPU available",
    "`Trainer.fit` stopped",
    "You are using a CUDA device",
    "Restoring states from the checkpoint",
    "Restored all states from the checkpoint",
)
# (start of the message as a pattern, module that warns, why it is harmless)
_WARNINGS = (
    (r".*treespec, LeafSpec.*", r"lightning\..*", "lightning 2.6 with torch 2.13, no effect"),
    (r".*does not have many workers.*", r"lightning\..*", "the data is in memory, 0 is fastest"),
    (r"Found .* in eval mode", r"lightning\..*", "stage 2's frozen world model is meant to be"),
    (r"Total length of `list` across ranks is zero", r"lightning\..*", "nothing is held out"),
    (r".*smaller than the logging interval.*", r"lightning\..*", "short trial runs"),
)


class _RemarkFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not any(remark in message for remark in _REMARKS)


def _show_exception_of_thread(details: threading.ExceptHookArgs) -> None:
    """As usual, but for TensorBoard's writer, which raises its error again in our thread."""
    if not (
        isinstance(details.exc_value, OSError)
        and type(details.thread).__module__.startswith("tensorboard.")
    ):
        threading.__excepthook__(details)


def silence_third_party_noise() -> None:
    """Install the filters; a second call changes nothing."""
    threading.excepthook = _show_exception_of_thread
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    if not any(isinstance(installed, _RemarkFilter) for installed in logger.filters):
        logger.addFilter(_RemarkFilter())
    for message, module, _reason in _WARNINGS:
        warnings.filterwarnings("ignore", message=message, module=module)


__all__ = ["silence_third_party_noise"]
