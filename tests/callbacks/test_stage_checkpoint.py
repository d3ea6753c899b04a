from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from lawm.callbacks.stage_checkpoint import StageCheckpoint, StoppedByUserError


class Trainer(SimpleNamespace):
    """Only what the callback uses; remembers at which steps it saved."""

    def __init__(self, max_steps=10, world_size=1):
        super().__init__(global_step=0, max_steps=max_steps, world_size=world_size, saved=[])

    def save_checkpoint(self, path, weights_only):
        assert not weights_only
        self.saved.append(self.global_step)


@pytest.fixture(autouse=True)
def _default_interrupt_handler():
    """A shell starts background jobs with SIGINT ignored; the tests must not depend on that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def make(tmp_path, every=4):
    return StageCheckpoint(tmp_path / "last.ckpt", every, {"inputs": {}}, "lawm")


def steps(callback, trainer, number):
    for _ in range(number):
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, None, None, None, 0)


def test_it_saves_regularly_and_at_the_last_step(tmp_path):
    callback, trainer = make(tmp_path), Trainer()
    steps(callback, trainer, 10)
    assert trainer.saved == [4, 8, 10]


def test_the_first_interrupt_waits_for_the_step_and_the_second_does_not(tmp_path):
    callback, trainer = make(tmp_path), Trainer()
    callback.on_train_start(trainer, None)
    steps(callback, trainer, 1)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(StoppedByUserError):
        steps(callback, trainer, 1)
    assert trainer.saved == [2]


def test_the_interrupt_handler_is_given_back(tmp_path):
    callback, trainer = make(tmp_path), Trainer()
    before = signal.getsignal(signal.SIGINT)
    callback.on_train_start(trainer, None)
    assert signal.getsignal(signal.SIGINT) != before
    callback.teardown(trainer, None, "fit")
    assert signal.getsignal(signal.SIGINT) == before


def test_with_several_processes_interrupts_are_left_alone(tmp_path):
    callback, trainer = make(tmp_path), Trainer(world_size=2)
    before = signal.getsignal(signal.SIGINT)
    callback.on_train_start(trainer, None)
    assert signal.getsignal(signal.SIGINT) == before


def test_an_exception_does_not_overwrite_the_good_checkpoint(tmp_path):
    callback, trainer = make(tmp_path), Trainer()
    steps(callback, trainer, 5)
    callback.on_exception(trainer, None, RuntimeError("loss is NaN"))
    assert trainer.saved == [4]


def test_training_time_is_summed_over_resumes(tmp_path):
    callback, trainer = make(tmp_path), Trainer()
    callback.load_state_dict({"seconds": 100.0})
    callback.on_train_start(trainer, None)
    assert 100.0 <= callback.state_dict()["seconds"] < 160.0


def test_the_identity_goes_into_the_checkpoint(tmp_path):
    checkpoint = {}
    make(tmp_path).on_save_checkpoint(None, None, checkpoint)
    assert checkpoint == {"lawm": {"inputs": {}}}
