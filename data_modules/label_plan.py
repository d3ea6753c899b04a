"""The settings that decide which episodes carry labels, as one object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lawm.data_modules.label_budget import parse_budget
from lawm.data_modules.label_file import is_label_file, split_by_file
from lawm.data_modules.shard_headers import ShardHeader
from lawm.data_modules.trajectory_split import EpisodeSplit, LabelChoice, split_episodes


class LabelPlan:
    """A label file, or a budget, a number of held-out episodes, a seed and a way to choose.

    Args:
        labels: As ``data.labels``: a budget in words, or the name of a label file.
        held_out: As ``data.held_out``; not used beside a file, nor are the other two.
        seed: As ``data.label_seed``.
        choice: As ``data.label_choice``.

    Raises:
        LawmError: A budget cannot be read.
    """

    def __init__(
        self, labels: str | int, held_out: str | int, seed: int, choice: LabelChoice
    ) -> None:
        self._given = str(labels)
        self._file = Path(str(labels)) if is_label_file(labels) else None
        self.labels = parse_budget("all" if self._file else labels, "labels")
        self.held_out = parse_budget(held_out, "held_out", may_be_zero=True)
        self._seed, self._choice = seed, choice

    def split(self, headers: Sequence[ShardHeader]) -> EpisodeSplit:
        """The part that each episode of these shards plays.

        Raises:
            LawmError: As :func:`split_by_file` and :func:`split_episodes`.
        """
        if self._file is not None:
            return split_by_file(headers, self._file)
        return split_episodes(
            headers,
            labels=self.labels,
            held_out=self.held_out,
            seed=self._seed,
            choice=self._choice,
        )

    def what_is_hidden(self, headers: Sequence[ShardHeader], split: EpisodeSplit) -> str:
        """A line for the start of a run; empty where no action under ``data.shards`` is hidden.

        Args:
            headers: The shards.
            split: Of them, by this plan.
        """
        num = sum(int(h.episodes.has_action.sum()) for h in headers if h.may_label)
        kept, held_out = len(split.labelled), len(split.held_out)
        hidden = num - kept - held_out
        if not hidden:
            return ""
        return (
            f"data.labels {self._given}: of {num} episodes with actions in data.shards {kept} "
            f"{'keeps' if kept == 1 else 'keep'} them, {hidden} {'has' if hidden == 1 else 'have'} "
            f"them hidden, {held_out} {'is' if held_out == 1 else 'are'} held out; "
            "--data.labels all hides none."
        )


__all__ = ["LabelPlan"]
