from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from lawm.callbacks.stage_checkpoint import StageCheckpoint
from lawm.stop_signals import StopRun, StopSignals


class Trainer(SimpleNamespace):
    """Only what the callback uses; remembers at which steps it saved."""

    def __init__(self, max_steps=10, validate_every=None):
        super().__init__(
            global_step=0,
            max_steps=max_steps,
            world_size=1,
            loggers=[SimpleNamespace(save=lambda: self.saved.append("tables"))],
            enable_validation=validate_every is not None,
            num_val_batches=[2],
            val_check_batch=validate_every,
            fit_loop=SimpleNamespace(total_batch_idx=-1),
            saved=[],
        )

    def save_checkpoint(self, path, weights_only, storage_options):
        assert not weights_only
        assert storage_options["previous"] != path
        assert self.saved.pop() == "tables"  # on the disk before the checkpoint
        self.saved.append(self.global_step)


@pytest.fixture
def stop():
    """A shell starts background jobs with SIGINT ignored; the tests must not depend on that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with StopSignals() as stop:
        yield stop
    signal.signal(signal.SIGINT, before)


def make(tmp_path, stop, every=4):
    paths = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    return StageCheckpoint(*paths, every, {"inputs": {}}, "lawm", stop)


def steps(callback, trainer, number):
    for _ in range(number):
        trainer.global_step += 1
        trainer.fit_loop.total_batch_idx += 1
        callback.on_train_batch_end(trainer, None, None, None, 0)


def test_it_saves_regularly_and_at_the_end(tmp_path, stop):
    callback, trainer = make(tmp_path, stop), Trainer(max_steps=8)
    steps(callback, trainer, 8)
    assert trainer.saved == [4]  # the last step is not over before the others' on_train_end
    callback.on_train_end(trainer, None)
    assert trainer.saved == [4, 8]


def test_a_step_with_a_validation_is_saved_after_it(tmp_path, stop):
    callback, trainer = make(tmp_path, stop), Trainer(max_steps=20, validate_every=6)
    steps(callback, trainer, 6)
    callback.on_validation_end(trainer, None)
    steps(callback, trainer, 6)
    assert trainer.saved == [4, 8]
    callback.on_validation_end(trainer, None)
    assert trainer.saved == [4, 8, 12]


def test_a_stop_at_a_step_with_a_validation_waits_for_it(tmp_path, stop):
    callback, trainer = make(tmp_path, stop), Trainer(validate_every=3)
    callback.on_train_start(trainer, None)
    steps(callback, trainer, 2)
    signal.raise_signal(signal.SIGTERM)
    steps(callback, trainer, 1)
    assert trainer.saved == []
    with pytest.raises(StopRun):
        callback.on_validation_end(trainer, None)
    assert trainer.saved == [3]


def test_nothing_is_saved_while_gradients_are_accumulated(tmp_path, stop):
    callback, trainer = make(tmp_path, stop), Trainer()
    steps(callback, trainer, 4)
    callback.on_train_batch_end(trainer, None, None, None, 0)
    assert trainer.saved == [4]


def test_the_first_interrupt_waits_for_the_step_and_the_second_does_not(tmp_path, stop):
    callback, trainer = make(tmp_path, stop), Trainer()
    callback.on_train_start(trainer, None)
    steps(callback, trainer, 1)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(StopRun):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(StopRun):
        steps(callback, trainer, 1)
    assert trainer.saved == [2]


@pytest.mark.parametrize("how", ["teardown", "on_exception"])
def test_outside_of_training_a_stop_does_not_wait(how, tmp_path, stop):
    callback, trainer = make(tmp_path, stop), Trainer()
    callback.on_train_start(trainer, None)
    getattr(callback, how)(trainer, None, "fit")
    with pytest.raises(StopRun):
        signal.raise_signal(signal.SIGTERM)


def test_another_handler_of_the_signals_is_put_aside(tmp_path, stop):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Lightning sets its own
    make(tmp_path, stop).on_train_start(Trainer(), None)
    signal.raise_signal(signal.SIGTERM)
    assert stop.requested == signal.SIGTERM


def test_an_exception_does_not_overwrite_the_good_checkpoint(tmp_path, stop):
    callback, trainer = make(tmp_path, stop), Trainer()
    steps(callback, trainer, 5)
    callback.on_exception(trainer, None, RuntimeError("loss is NaN"))
    assert trainer.saved == [4]


def test_training_time_is_summed_over_resumes(tmp_path, stop):
    callback, trainer = make(tmp_path, stop), Trainer()
    callback.load_state_dict({"seconds": 100.0})
    callback.on_train_start(trainer, None)
    assert 100.0 <= callback.state_dict()["seconds"] < 160.0


def test_the_identity_goes_into_the_checkpoint(tmp_path, stop):
    checkpoint = {}
    make(tmp_path, stop).on_save_checkpoint(None, None, checkpoint)
    assert checkpoint == {"lawm": {"inputs": {}}}
