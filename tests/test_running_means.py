from __future__ import annotations

from types import SimpleNamespace

import torch

from lawm.running_means import RunningMeans


class Trainer(SimpleNamespace):
    """Remembers what was logged at which step."""

    def __init__(self, every=4):
        super().__init__(
            global_step=0,
            world_size=1,
            global_rank=0,
            log_every_n_steps=every,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
            loggers=[SimpleNamespace(log_metrics=lambda m, step: self.logged.append((step, m)))],
            logged=[],
        )


MODULE = SimpleNamespace(device=torch.device("cpu"), log_dict=lambda metrics, logger: None)


def train(means, trainer, values):
    means.on_train_start(trainer, MODULE)
    for value in values:
        means.add({"loss": torch.tensor(float(value))})
        trainer.global_step += 1
        means.on_train_batch_end(trainer, MODULE, None, None, 0)


def test_the_mean_since_the_last_multiple_is_logged():
    trainer = Trainer()
    train(RunningMeans("stage"), trainer, range(10))
    assert trainer.logged == [(4, {"stage/loss": 1.5}), (8, {"stage/loss": 5.5})]


def test_a_resume_between_two_log_steps_logs_the_same():
    whole, parts = Trainer(), Trainer()
    train(RunningMeans("stage"), whole, range(10))
    stopped, resumed, checkpoint = RunningMeans("stage"), RunningMeans("stage"), {}
    train(stopped, parts, range(6))
    stopped.on_save_checkpoint(parts, MODULE, checkpoint)
    train(stopped, parts, [1e9])  # comes to nothing: killed here
    parts.global_step = 6
    resumed.on_load_checkpoint(parts, MODULE, checkpoint)
    train(resumed, parts, range(6, 10))
    assert parts.logged == whole.logged


def test_a_name_that_some_steps_lack_is_a_mean_over_the_others():
    trainer, means, checkpoint = Trainer(), RunningMeans("stage"), {}
    means.add({"loss": torch.tensor(1.0)})
    means.add({"loss": torch.tensor(2.0), "action_free/loss": torch.tensor(5.0)})
    means.on_save_checkpoint(trainer, MODULE, checkpoint)
    resumed = RunningMeans("stage")
    resumed.on_load_checkpoint(trainer, MODULE, checkpoint)
    for after in (means, resumed):
        after.add({"loss": torch.tensor(3.0)})
        assert after.pop() == {"loss": torch.tensor(2.0), "action_free/loss": torch.tensor(5.0)}


def test_accumulated_batches_are_logged_once():
    trainer, means = Trainer(every=1), RunningMeans("stage")
    means.on_train_start(trainer, MODULE)
    for step in (0, 1, 1, 2):  # two batches an update
        means.add({"loss": torch.tensor(1.0)})
        trainer.global_step = step
        means.on_train_batch_end(trainer, MODULE, None, None, 0)
    assert [step for step, _ in trainer.logged] == [1, 2]


def test_with_another_number_of_processes_the_mean_goes_on():
    means, trainer = RunningMeans("stage"), Trainer()
    state = {"names": ["loss"], "sums": torch.tensor([[3.0], [5.0]]), "counts": [2]}
    means.on_load_checkpoint(trainer, MODULE, {"running_means": state})
    assert means.pop() == {"loss": torch.tensor(2.0)}
