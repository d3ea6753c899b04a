from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler
from quiet_trainer import quiet_trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lawm.callbacks import throughput
from lawm.callbacks.throughput import ThroughputCallback, num_transitions

FETCH, UPDATE, OTHER = 2.0, 5.0, 3.0  # seconds on the clock of these tests


class Clock:
    """Moves only when told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(throughput, "time", clock)
    return clock


class TimedModule(pl.LightningModule):
    """Updates take UPDATE seconds, the first ``num_slow`` ten times that."""

    def __init__(self, clock, num_slow=0, fails_at=None):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.clock, self.num_slow, self.fails_at = clock, num_slow, fails_at

    def training_step(self, batch, batch_idx):
        if batch_idx == self.fails_at:
            raise RuntimeError("stop")
        self.clock.now += 10 * UPDATE if batch_idx < self.num_slow else UPDATE
        return self.layer(batch).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class TimedLoader:
    """Batches take FETCH seconds."""

    def __init__(self, clock):
        self.clock = clock

    def __len__(self):
        return 1000

    def __iter__(self):
        while True:
            self.clock.now += FETCH
            yield torch.ones(8, 3)


class OtherWork(pl.Callback):
    """Takes OTHER seconds after every update, as an evaluation does."""

    def __init__(self, clock):
        self.clock = clock

    def on_train_batch_end(self, *args):
        self.clock.now += OTHER


def fit(callbacks, max_steps, clock, module=None, **options):
    trainer = quiet_trainer(max_steps, callbacks=callbacks, **options)
    trainer.fit(module or TimedModule(clock), TimedLoader(clock))
    return trainer


def test_transitions_of_a_batch_are_those_of_all_its_rows():
    reward, terminated = torch.zeros(1, 7), torch.zeros(4, 7)
    assert num_transitions(SimpleNamespace(reward=reward, terminated=terminated)) == 28


@pytest.mark.parametrize("position", ["before", "after"])
def test_summary_by_hand_wherever_the_other_callbacks_stand(clock, position):
    callback = ThroughputCallback(5, lambda batch: batch.numel())
    callbacks = [callback, OtherWork(clock)]
    fit(callbacks if position == "before" else callbacks[::-1], 20, clock)
    summary = callback.summary
    assert summary.updates_per_second == pytest.approx(1.0 / (FETCH + UPDATE))
    assert summary.transitions_per_second == pytest.approx(24.0 / (FETCH + UPDATE))
    # The stretch starts and ends at this callback's turn: as much other work falls into it.
    assert summary.data_wait_share == pytest.approx(FETCH / (FETCH + UPDATE + OTHER), rel=0.05)
    assert summary.update_share == pytest.approx(UPDATE / (FETCH + UPDATE + OTHER), rel=0.05)
    assert summary.memory_gib > 0.05  # torch alone is larger


def test_logged_every_n_steps(clock, tmp_path):
    logger = pl.loggers.TensorBoardLogger(tmp_path, name="", version="")
    fit([ThroughputCallback(4, len)], 10, clock, logger=logger)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    expected = {
        "updates_per_second": 1.0 / (FETCH + UPDATE),
        "transitions_per_second": 8.0 / (FETCH + UPDATE),
        "data_wait_share": FETCH / (FETCH + UPDATE),
        "update_share": UPDATE / (FETCH + UPDATE),
    }
    for name, value in expected.items():
        scalars = events.Scalars(f"throughput/{name}")
        assert [scalar.step for scalar in scalars] == [4, 8]
        assert [scalar.value for scalar in scalars] == pytest.approx([value, value])
    assert "throughput/memory_gib" in events.Tags()["scalars"]


@pytest.mark.parametrize(
    ("max_steps", "seconds"),
    [
        (3, FETCH + 10 * UPDATE),  # nothing but warm-up
        (4, FETCH + 10 * UPDATE),
        (24, FETCH + UPDATE),  # the four slow ones are left out
    ],
)
def test_summary_leaves_the_warm_up_out(clock, max_steps, seconds):
    callback = ThroughputCallback(4, len)
    fit([callback], max_steps, clock, module=TimedModule(clock, num_slow=4))
    assert callback.summary.updates_per_second == pytest.approx(1.0 / seconds)


def test_no_update_no_summary(clock):
    callback = ThroughputCallback(4, len)
    fit([callback], 0, clock)
    assert callback.summary is None


def test_profiler_is_given_back_and_the_users_own_still_works(clock):
    own = SimpleProfiler()
    trainer = fit([ThroughputCallback(4, len)], 6, clock, profiler=own)
    assert trainer.profiler is own
    assert len(own.recorded_durations["run_training_batch"]) == 6
    assert len(own.recorded_durations["[_TrainingEpochLoop].train_dataloader_next"]) == 6
    assert isinstance(fit([ThroughputCallback(4, len)], 6, clock).profiler, PassThroughProfiler)


def test_stopped_run_has_its_summary_and_its_profiler(clock):
    profilers = []

    class Last(pl.Callback):
        def on_exception(self, trainer, pl_module, exception):
            profilers.append(trainer.profiler)

    callback = ThroughputCallback(4, len)
    with pytest.raises(RuntimeError, match="stop"):
        fit([callback, Last()], 10, clock, module=TimedModule(clock, fails_at=6))
    assert callback.summary.updates_per_second == pytest.approx(2 / (3 * FETCH + 2 * UPDATE))
    assert isinstance(profilers[0], PassThroughProfiler)
