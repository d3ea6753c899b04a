"""Labelled and action-free trajectories, mixed at a set ratio in every batch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info

from lawm.batch import Batch, EpisodeBatch
from lawm.data_modules.batch_loaders import LabelledBatchLoader, MixedBatchLoader, NumberedBatches
from lawm.data_modules.data_facts import data_fingerprint, data_spec, data_summary
from lawm.data_modules.episode_store import EpisodeStore
from lawm.data_modules.label_plan import LabelPlan
from lawm.data_modules.labeller import Labeller
from lawm.data_modules.raw_cache import default_cache_folder
from lawm.data_modules.shard_headers import ShardHeader, find_shards, read_headers
from lawm.data_modules.storage_choice import Storage, StorageChoice, choose_storage, choose_workers
from lawm.data_modules.store_loading import load_store
from lawm.data_modules.trajectory_split import EpisodeSplit, LabelChoice, locate_episode
from lawm.data_modules.validation_windows import validation_rows
from lawm.data_modules.window_checks import check_settings, check_windows
from lawm.data_modules.window_sampler import WindowSampler
from lawm.errors import LawmError
from lawm.spec import DataSpec

CHUNK_BYTES = 1 << 27  # of the observations of episodes that are handed out together


class MixedTrajectoryDataModule(pl.LightningDataModule):
    """Trajectories, and batches of windows from them.

    Batches are drawn by number, so that the processes of a
    distributed run take different ones without a distributed sampler (build the Trainer with
    ``use_distributed_sampler=False``) and a resumed run goes on where it stopped. There are no
    epochs: bound a run by ``max_steps``.

    Args:
        shards: Trajectory shards whose episodes may be labelled: paths or glob patterns, relative
            to the current folder.
        action_free_shards: Shards whose actions, if any, are never used.
        observation_keys: The observations that are used, such as [pixels], where the shards hold
            more; by default all of them.
        labels: How many training episodes carry labels (actions, and rewards if there are any):
            "10%", "12 episodes" or "all". The others of `shards` become action-free. A share is
            of the episodes with actions that are not held out. Or a file of `lawm data label`,
            which names these episodes and the held-out ones, such as "labels.json"; then
            `label_seed`, `label_choice` and `held_out` are not used.
        label_seed: Which episodes carry labels. With one seed a smaller budget is part of a
            larger one.
        label_choice: At "random", or by "coverage": the episodes that the observations of all the
            others lie near to. No action or reward is read for it, so that it can be made before
            anything is labelled; with few labels it decides much.
        labelled_ratio: Share of labelled windows in a batch, in (0, 1]. At 1 the action-free
            episodes are not used for anything; without any, every window is labelled.
        batch_size: Windows in a batch of one process.
        window: Transitions in a window, which has one observation more.
        held_out: Episodes with actions that training never sees, to measure on: "5%",
            "8 episodes" or "none". They do not depend on the seeds.
        rewards_on_action_free: Keep the rewards of action-free episodes where a shard has them.
        seed: Order of the batches.
        storage: Where the data are while they are trained on; the batches are the same. "memory":
            unpacked in the memory of every process. "mapped": windows are read at their places in
            the files, compressed arrays from unpacked copies; the kernel's page cache serves all
            processes. "stream": windows are read from the shards and unpacked on the way. "auto"
            chooses by the size of the data and of the memory, and says why.
        workers: Processes of each rank that read batches ahead. By default none, but some for
            "stream".
        cache_dir: Of the unpacked copies; by default in ~/.cache/lawm.
        verify: Compare all data with their checksums at the start (about 1 s per GB).
    """

    def __init__(
        self,
        shards: list[str] | str,
        action_free_shards: list[str] | str | None = None,
        labels: str | int = "all",
        label_seed: int = 0,
        label_choice: LabelChoice = "random",
        labelled_ratio: float = 0.25,
        batch_size: int = 32,
        window: int = 32,
        held_out: str | int = "5%",
        rewards_on_action_free: bool = False,
        seed: int = 0,
        storage: Storage = "auto",
        workers: int | None = None,
        cache_dir: str | None = None,
        verify: bool = True,
        observation_keys: list[str] | None = None,
    ) -> None:
        super().__init__()
        check_settings(
            labelled_ratio,
            observation_keys,
            at_least_1={"batch_size": batch_size, "window": window},
            at_least_0={"label_seed": label_seed, "seed": seed, "workers": workers},
        )
        self._shards = _as_list(shards)
        self._action_free_shards = _as_list(action_free_shards)
        if not self._shards:
            raise LawmError("data.shards is empty; name at least one shard with actions.")
        self._observation_keys = observation_keys
        self._plan = LabelPlan(labels, held_out, label_seed, label_choice)
        self._seed = seed
        self.labelled_ratio = float(labelled_ratio)
        self.batch_size, self.window = batch_size, window
        self.rewards_on_action_free = rewards_on_action_free
        self._wanted_storage, self._wanted_workers, self._verify = storage, workers, verify
        self._cache = Path(cache_dir).expanduser() if cache_dir else default_cache_folder()
        self._choice: StorageChoice
        self._headers: list[ShardHeader] = []
        self._split: EpisodeSplit
        self._store: EpisodeStore | None = None
        self._labeller: Labeller | None = None

    def label_with(self, labeller: Labeller) -> None:
        """Give the action-free rows of everything that is trained on the labeller's actions."""
        self._labeller = labeller

    def setup(self, stage: str | None = None) -> None:
        """Read all shards; a second call does nothing.

        Raises:
            LawmError: Something is wrong with a file, or no window of this length is there.
        """
        if self._store is not None:
            return
        self._headers = read_headers(
            find_shards(self._shards, "shards"),
            find_shards(self._action_free_shards, "action_free_shards"),
            observation_keys=self._observation_keys,
        )
        self._split = self._plan.split(self._headers)
        if hidden := self._plan.what_is_hidden(self._headers, self._split):
            rank_zero_info(hidden)
        processes = self._processes_here()
        self._choice = choose_storage(
            self._wanted_storage, self._headers, self._cache, num_processes=processes
        )
        self.workers = choose_workers(self._wanted_workers, self._choice.storage, processes)
        rank_zero_info(
            f"data.storage: {self._choice.storage} ({self._choice.reason}); "
            f"data.workers: {self.workers}."
        )
        store = load_store(
            self._headers,
            self._split,
            rewards_on_action_free=self.rewards_on_action_free,
            storage=self._choice.storage,
            cache=self._cache,
            verify=self._verify,
        )
        check_windows(
            store,
            self.window,
            self.batch_size,
            self.labelled_ratio,
            ", ".join(str(header.path) for header in self._headers),
        )
        self._store = store

    @property
    def store(self) -> EpisodeStore:
        """The data in memory; reads them if that was not done yet."""
        self.setup()
        assert self._store is not None
        return self._store

    @cached_property
    def spec(self) -> DataSpec:
        """What the model is built from."""
        store = self.store
        return data_spec(self._headers, self._split, store, self._training_episodes())

    def fingerprint(self) -> str:
        """SHA-256 of the content of the shards and of what each episode is used for, as hex.

        The paths do not enter it, nor how batches are drawn (ratio, size, window, seed).
        """
        self.setup()
        return data_fingerprint(self._headers, self._split, self.rewards_on_action_free)

    def train_dataloader(self) -> MixedBatchLoader:
        """The stream of mixed batches for this process."""
        store, trainer = self.store, self.trainer
        ratio = self.labelled_ratio if len(store.free) else 1.0
        sampler = WindowSampler(
            store.window_pool(store.labelled, self.window),
            store.window_pool(store.free, self.window),
            batch_size=self.batch_size,
            labelled_ratio=ratio,
            seed=self._seed,
        )
        return MixedBatchLoader(
            NumberedBatches(store, sampler, self.window),
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            workers=self.workers,
        )

    def val_dataloader(self) -> LabelledBatchLoader | list[LabelledBatchLoader]:
        """Windows that tile the held-out episodes; an empty list if there are none."""
        rows = validation_rows(self.store, self.window, self.batch_size)
        if len(rows) == 0:
            return []
        return LabelledBatchLoader(self.store, rows, self.window, self.batch_size)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Copy to a GPU through page-locked memory, so that the host need not wait."""
        if device.type == "cuda":
            return batch.pin_memory().to(device, non_blocking=True)
        return batch.to(device)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Where the batch is, give it pseudo-labels if there is a labeller."""
        del dataloader_idx
        return self._labeller.label_windows(batch) if self._labeller else batch

    def describe(self, batch: Batch) -> list[str]:
        """Where each window of a batch comes from: shard, episode and steps."""
        assert batch.source is not None, "a batch that this module did not make"
        window, found = batch.reward.shape[1], []
        for row, (number, step) in enumerate(batch.source.tolist()):
            path, episode = locate_episode(self._headers, self._split, number)
            kind = "labelled" if row < batch.num_labelled else "action-free"
            found.append(f"{path}, episode {episode}, steps {step} to {step + window} ({kind})")
        return found

    def describe_start(self, number: int, step: int) -> str:
        """Where the start state of a step of :meth:`episodes` comes from."""
        first = self._training_episodes().start
        path, episode = locate_episode(self._headers, self._split, first + number)
        return f"{path}, episode {episode}, step {step}"

    @property
    def num_training_episodes(self) -> int:
        """Episodes of :meth:`episodes`."""
        return len(self._training_episodes())

    def num_training_states(self, with_actions: bool = False) -> int:
        """Observations of :meth:`episodes`, one more than transitions in each."""
        episodes = self._training_episodes(with_actions)
        return self.store.num_transitions(episodes) + len(episodes)

    def episodes(self, chunk: int = 64, *, with_actions: bool = False) -> Iterator[EpisodeBatch]:
        """The episodes that are trained on, the labelled ones first.

        Args:
            chunk: How many come at a time; fewer where their images are large.
            with_actions: Only those whose actions are known, also if a labeller tells them.
        """
        assert chunk > 0, chunk
        training = self._training_episodes(with_actions)
        chunk = max(1, min(chunk, CHUNK_BYTES // self.store.largest_episode_bytes(training)))
        for start in range(training.start, training.stop, chunk):
            episodes = self.store.episode_batch(range(start, min(start + chunk, training.stop)))
            yield self._labeller.label_episodes(episodes) if self._labeller else episodes

    def held_out_episodes(self) -> EpisodeBatch:
        """The held-out episodes with all labels, for measuring only; E is 0 if there are none."""
        return self.store.episode_batch(self.store.held_out)

    def summary(self) -> dict[str, int | float | str]:
        """The key figures, for tables."""
        store, spec = self.store, self.spec
        facts = data_summary(self._headers, store, spec, self.rewards_on_action_free)
        return {**facts, "storage": self._choice.storage}

    def _processes_here(self) -> int:
        """Processes on this machine that will hold the data, as far as is known."""
        trainer = self.trainer
        return int(os.environ.get("LOCAL_WORLD_SIZE") or (trainer.world_size if trainer else 1))

    def _training_episodes(self, with_actions: bool = False) -> range:
        """Numbers in the store; without the action-free ones where no batch contains them."""
        store, left_out = self.store, with_actions and self._labeller is None
        last = store.labelled if left_out or self.labelled_ratio == 1.0 else store.free
        return range(store.labelled.start, last.stop)


def _as_list(paths: Sequence[str] | str | None) -> list[str]:
    if paths is None:
        return []
    return [paths] if isinstance(paths, str) else list(paths)


__all__ = ["MixedTrajectoryDataModule"]
