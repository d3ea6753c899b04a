import csv
import math

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from evaluated_training import PolicyModule, ValuedPolicyModule, fit, make_callback
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lawm.callbacks.evaluation import EvaluationCallback
from lawm.callbacks.evaluation_point import EvaluationPoint, write_csv
from lawm.envs.dm_control import DMControlEnvironment
from lawm.errors import LawmError
from lawm.evaluation_result import EvaluationResult


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def failing_step(monkeypatch, tmp_path):
    """Call the returned function and the simulator, in its own process, fails from then on."""
    flag, step = tmp_path / "failing", DMControlEnvironment.step

    def may_fail(self, action):
        if flag.exists():
            raise RuntimeError("Physics state is invalid")
        return step(self, action)

    monkeypatch.setattr(DMControlEnvironment, "step", may_fail)
    return flag.touch


def test_evaluates_every_n_steps_and_at_the_end():
    callback = make_callback()
    fit(callback, max_steps=12)
    assert [(point.step, point.final) for point in callback.results] == [
        *((4, False), (8, False), (12, True))
    ]
    assert callback.final is callback.results[-1]
    assert [point.result.seeds for point in callback.results] == [(7, 8), (7, 8), (7, 8, 9)]
    assert callback.best.mean == max(point.mean for point in callback.results)
    assert all(
        0.0 < value <= 1000.0 for point in callback.results for value in point.result.returns
    )


def test_training_is_the_same_with_and_without_it():
    _, plain = fit(None, max_steps=9)
    _, watched = fit(make_callback(), max_steps=9)
    assert len(watched.agents) == 3
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one, other)


def test_evaluation_does_not_depend_on_the_training_stream():
    """The agent draws random numbers, and learning rate zero keeps its weights."""
    module = PolicyModule()
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.0)
    callback = make_callback(final_episodes=2)
    fit(callback, max_steps=8, module=module)
    assert callback.results[0].result == callback.results[1].result


def test_figures_reach_the_loggers(tmp_path):
    callback = make_callback(data_return_mean=10.0, data_return_best=110.0)
    loggers = [
        pl.loggers.TensorBoardLogger(tmp_path, name="", version="tb"),
        CSVLogger(tmp_path, name="", version="csv"),
    ]
    fit(callback, max_steps=8, logger=loggers)
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    result = callback.final.result
    for name, expected in {
        "return_mean": result.mean,
        "return_std": result.std,
        "return_min": result.min,
        "return_max": result.max,
        "return_normalised": (result.mean - 10.0) / 100.0,
    }.items():
        scalars = events.Scalars(f"evaluation/{name}")
        assert [scalar.step for scalar in scalars] == [4, 8]
        assert scalars[-1].value == pytest.approx(expected)
    rows = read_csv(tmp_path / "csv" / "metrics.csv")
    assert float(rows[-1]["evaluation/return_mean"]) == pytest.approx(result.mean)


def test_imagined_value_beside_true_return(tmp_path):
    callback = make_callback(csv_path=tmp_path / "evaluation.csv")
    logger = pl.loggers.TensorBoardLogger(tmp_path, name="", version="tb")
    fit(callback, max_steps=8, module=ValuedPolicyModule(), logger=logger)
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    value = [scalar.value for scalar in events.Scalars("evaluation/imagined_value")]
    assert value == [41.0, 42.0]  # means over two and three episodes
    returns = [scalar.value for scalar in events.Scalars("evaluation/discounted_return")]
    for point, logged in zip(callback.results, returns, strict=True):
        discount = 0.9 ** np.arange(20)
        expected = np.mean([discount @ rewards for rewards in point.result.rewards])
        assert logged == pytest.approx(expected)
    rows = read_csv(tmp_path / "evaluation.csv")
    assert [row["imagined_value"] for row in rows] == ["41", "42"]
    assert [float(row["discounted_return"]) for row in rows] == pytest.approx(returns, rel=1e-5)
    restored = make_callback()
    restored.load_state_dict(callback.state_dict())
    assert restored.results == callback.results

    layout = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    assert b"evaluation/imagined_value" in layout
    assert b"evaluation/discounted_return" in layout


def test_without_a_critic_there_is_no_imagined_value(tmp_path):
    callback = make_callback(csv_path=tmp_path / "evaluation.csv")
    logger = pl.loggers.TensorBoardLogger(tmp_path, name="", version="tb")
    fit(callback, max_steps=2, logger=logger)
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert not {"evaluation/imagined_value", "custom_scalars__config__"} & {
        tag for tags in events.Tags().values() if isinstance(tags, list) for tag in tags
    }
    assert read_csv(tmp_path / "evaluation.csv")[0]["imagined_value"] == ""


def test_csv_holds_every_return(tmp_path):
    path = tmp_path / "run" / "evaluation.csv"
    callback = make_callback(csv_path=path, data_return_mean=0.0, data_return_best=1000.0)
    fit(callback, max_steps=8)
    rows = read_csv(path)
    assert [(row["step"], row["final"]) for row in rows] == [("4", "0"), ("8", "1")]
    for row, point in zip(rows, callback.results, strict=True):
        assert float(row["mean"]) == pytest.approx(point.mean, rel=1e-5)
        assert float(row["normalised"]) == pytest.approx(point.mean / 1000.0, rel=1e-5)
        returns = [float(value) for value in row["returns"].split()]
        assert returns == pytest.approx(list(point.result.returns), rel=1e-5)
        assert float(row["seconds"]) > 0.0
        assert row["error"] == ""
    assert [path.name for path in path.parent.iterdir()] == ["evaluation.csv"]


def test_best_checkpoint_has_the_weights_of_the_best_evaluation(tmp_path, monkeypatch):
    """The returns of the four evaluations are set to 3, 5, 4, 5: the second is the best."""
    means = iter([3.0, 5.0, 4.0, 5.0])
    monkeypatch.setattr(
        DMControlEnvironment, "step", lambda self, action: (self.reset(), next(means), False, True)
    )
    path = tmp_path / "best.ckpt"
    callback = make_callback(
        every_n_steps=1, episodes=1, final_episodes=1, best_checkpoint_path=path
    )
    seen = []

    class Weights(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            seen.append(pl_module.policy[0].weight.detach().clone())

    fit(callback, max_steps=4)
    fit(Weights(), max_steps=4)
    checkpoint = torch.load(path, weights_only=True)
    assert callback.best.step == checkpoint["global_step"] == 2
    assert torch.equal(checkpoint["state_dict"]["policy.0.weight"], seen[1])
    assert not torch.equal(seen[1], seen[3])
    assert "optimizer_states" not in checkpoint


def test_failing_simulator_does_not_end_training(tmp_path, failing_step, caplog):
    class BreakAfterSix(PolicyModule):
        def on_train_batch_start(self, batch, batch_idx):
            if self.global_step == 6:
                failing_step()

    callback = make_callback(csv_path=tmp_path / "evaluation.csv")
    logger = pl.loggers.TensorBoardLogger(tmp_path, name="", version="tb")
    trainer, module = fit(callback, max_steps=10, module=BreakAfterSix(), logger=logger)
    assert trainer.global_step == 10
    assert module.policy.training and not module.frozen.training
    assert [bool(point.result) for point in callback.results] == [True, False, False]
    assert callback.best is callback.results[0]
    assert math.isnan(callback.final.mean)
    rows = read_csv(tmp_path / "evaluation.csv")
    assert [row["error"] for row in rows] == ["", *["RuntimeError: Physics state is invalid"] * 2]
    assert rows[1]["mean"] == ""
    assert "cartpole-balance at step 8 failed and training goes on without it" in caplog.text
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    texts = events.Tensors("evaluation/failed/text_summary")
    assert [text.step for text in texts] == [8, 10]
    assert texts[0].tensor_proto.string_val == [b"RuntimeError: Physics state is invalid"]


def test_failed_evaluation_leaves_the_training_stream_untouched(failing_step):
    failing_step()
    _, plain = fit(None, max_steps=6)
    _, watched = fit(make_callback(), max_steps=6)
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one, other)


def test_unknown_environment_stops_before_the_first_step():
    module = PolicyModule()
    with pytest.raises(LawmError, match="Nearest: dm_control/cheetah-run"):
        fit(EvaluationCallback("dm_control/cheetah-rn", 2), max_steps=4, module=module)
    assert module.agents == []


def test_resumed_run_keeps_its_history(tmp_path):
    path = tmp_path / "evaluation.csv"
    first = make_callback(csv_path=path)
    trainer, _ = fit(first, max_steps=6)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    lost = make_callback(csv_path=path)
    fit(lost, max_steps=9, ckpt_path=tmp_path / "last.ckpt")  # stopped, its checkpoint not kept
    assert [row["step"] for row in read_csv(path)] == ["4", "6", "8", "9"]

    resumed = make_callback(csv_path=path)
    resumed_best_before_training = []

    class Spy(PolicyModule):
        def on_train_start(self):
            super().on_train_start()
            resumed_best_before_training.append(resumed.best)

    fit(resumed, max_steps=7, ckpt_path=tmp_path / "last.ckpt", module=Spy())
    assert [(point.step, point.final) for point in resumed.results] == [
        *((4, False), (6, True), (7, True))
    ]
    assert resumed.results[:2] == first.results
    assert resumed_best_before_training == [first.best]
    assert [row["step"] for row in read_csv(path)] == ["4", "6", "7"]


def test_failures_survive_a_checkpoint(failing_step):
    failing_step()
    callback = make_callback()
    fit(callback, max_steps=2)
    restored = make_callback()
    restored.load_state_dict(callback.state_dict())
    assert restored.results == callback.results
    assert restored.best is None
    assert restored.final == callback.final


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_mean_that_is_not_finite_neither_becomes_the_best_nor_blocks_it(wrong, tmp_path):
    """Checkpoints of older versions hold such evaluations."""

    def point(step, *returns):
        return EvaluationPoint(step, False, EvaluationResult(returns, (1, 1), (7, 8)), 0.0)

    callback = make_callback()
    assert not callback._add(point(1, wrong, -wrong))
    assert callback.best is None
    assert callback._add(point(2, 1.0, 2.0))
    assert not callback._add(point(3, 9.0, wrong))
    assert callback._add(point(4, 2.0, 2.0))
    restored = make_callback()
    restored.load_state_dict(callback.state_dict())
    assert restored.best.step == callback.best.step == 4
    write_csv(tmp_path / "evaluation.csv", restored.results, (0.0, 1.0))
    assert [row["mean"] for row in read_csv(tmp_path / "evaluation.csv")] == [
        *("nan", "1.5", "nan", "2")
    ]


def test_run_that_was_finished_keeps_its_final_evaluation_without_another(tmp_path):
    first = make_callback()
    trainer, _ = fit(first, max_steps=3)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = make_callback()
    _, module = fit(again, max_steps=3, ckpt_path=tmp_path / "last.ckpt")
    assert module.agents == []
    assert again.final == again.best == first.final
