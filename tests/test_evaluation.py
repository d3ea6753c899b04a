import json
import math

import numpy as np
import pytest

from lawm import evaluation
from lawm.envs import registry
from lawm.errors import LawmError
from lawm.evaluation import Evaluator, Recording, evaluate
from lawm.evaluation_result import EvaluationResult
from lawm.renderer_spec import RendererSpec


class CountingEnv:
    """Rewards are the action; the episode of seed s ends after 3 + s % 4 steps."""

    made = 0
    closed = 0

    def __init__(self, env_id="toy/count", action_repeat=2, seed=0):
        type(self).made += 1
        self.env_id, self.action_repeat, self.control_timestep = env_id, action_repeat, 0.05
        self.action_low, self.action_high = -np.ones(1), np.ones(1)
        self.time, self.seed = 0, seed

    def observe(self):
        return {"state": np.array([self.seed, self.time], dtype=np.float32)}

    def reset(self, seed=None):
        self.time, self.seed = 0, seed
        return self.observe()

    def step(self, action):
        self.time += 1
        assert self.time <= 3 + self.seed % 4, "stepped after its end"
        ended = self.time == 3 + self.seed % 4
        by_itself = ended and self.seed % 2 == 0
        return self.observe(), float(action[0]), by_itself, ended and not by_itself

    def render(self, height, width, camera):
        return np.full((height, width, 3), 10 * self.seed + self.time, dtype=np.uint8)

    def physics_state(self):
        return np.zeros(0)

    def close(self):
        type(self).closed += 1


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    CountingEnv.made = CountingEnv.closed = 0
    monkeypatch.setitem(registry._FACTORIES, "toy", CountingEnv)


class CountingPictures(CountingEnv):
    def camera_names(self):
        return ("side",)


class PictureAgent:
    """Acts the pixels that it sees, which count, less what the state counts."""

    def initial_state(self, num):
        return None

    def act(self, obs, state):
        assert obs["pixels"].shape == (len(obs["state"]), 2, 3, 3)
        assert obs["pixels"].dtype == np.uint8
        counted = 10 * obs["state"][:, 0] + obs["state"][:, 1]
        return (obs["pixels"].mean((1, 2, 3)) - counted)[:, None] + 1, None


class SeedAndTimeAgent:
    """Acts seed + calls so far / 100, and remembers the batch sizes that it saw."""

    def __init__(self):
        self.batch_sizes = []

    def initial_state(self, num):
        return np.zeros(num)

    def act(self, obs, state):
        assert obs["state"].shape == (len(state), 2)
        self.batch_sizes.append(len(state))
        return (obs["state"][:, 0] + state / 100)[:, None], state + 1


@pytest.mark.parametrize("timeout", [None, 30])
def test_an_agent_sees_the_pictures_of_its_own_episode(monkeypatch, timeout):
    monkeypatch.setitem(registry._FACTORIES, "toy", CountingPictures)
    monkeypatch.setattr(evaluation, "working_backend", lambda: "none")
    result = evaluate(
        PictureAgent(),
        "toy/count",
        2,
        episodes=4,
        seed=5,
        timeout=timeout,
        recording=Recording(1, 4, 4),
        renderer=RendererSpec(3, 2, {"pixels": "side"}),
    )
    assert result.returns == tuple(map(float, result.lengths))
    assert result.first_obs["pixels"][:, 0, 0, 0].tolist() == [50, 60, 70, 80]
    assert result.videos[0].shape == (5, 4, 4, 3)  # of a size of its own


def test_returns_lengths_and_seeds_by_hand():
    result = evaluate(SeedAndTimeAgent(), "toy/count", 2, episodes=4, seed=5)
    assert result.seeds == (5, 6, 7, 8)
    assert result.lengths == (4, 5, 6, 3)
    assert result.returns == pytest.approx((20.06, 30.10, 42.15, 24.03))


def test_rewards_and_first_observations_of_each_episode():
    result = evaluate(SeedAndTimeAgent(), "toy/count", 2, episodes=4, seed=5, max_parallel=3)
    assert [len(rewards) for rewards in result.rewards] == list(result.lengths)
    assert result.rewards[3] == pytest.approx([8.0, 8.01, 8.02])
    assert result.first_obs["state"].tolist() == [[5, 0], [6, 0], [7, 0], [8, 0]]


def test_discounted_returns_by_hand():
    rewards = (np.array([1.0, 2.0, 4.0]), np.array([8.0]))
    result = EvaluationResult((7.0, 8.0), (3, 1), (0, 1), rewards=rewards)
    assert result.discounted_returns(0.5).tolist() == [1.0 + 1.0 + 1.0, 8.0]
    assert result.discounted_returns(1.0).tolist() == list(result.returns)


def test_agent_is_called_once_a_step_on_a_batch_of_fixed_size():
    agent = SeedAndTimeAgent()
    evaluate(agent, "toy/count", 2, episodes=5, seed=0, max_parallel=3)
    assert agent.batch_sizes == [3] * 5 + [2] * 6  # the longest of seeds 0-2 and of seeds 3-4


@pytest.mark.parametrize("max_parallel", [1, 3])
def test_side_by_side_equals_one_after_the_other(max_parallel):
    results = [
        evaluate(SeedAndTimeAgent(), "toy/count", 2, episodes=7, seed=1, max_parallel=n)
        for n in (7, max_parallel)
    ]
    assert results[0] == results[1]


class BangBangAgent:
    """A fixed function of the observation."""

    def initial_state(self, num):
        return None

    def act(self, obs, state):
        return np.sign(obs["state"][:, -1:]), None


def test_real_task_is_reproducible_side_by_side_and_when_simulators_are_reused():
    parallel = Evaluator("dm_control/pendulum-swingup", 4, max_parallel=3)
    serial = Evaluator("dm_control/pendulum-swingup", 4, max_parallel=1)
    first = parallel.run(BangBangAgent(), episodes=3, seed=0)
    assert parallel.run(BangBangAgent(), episodes=3, seed=0) == first
    assert serial.run(BangBangAgent(), episodes=3, seed=0) == first
    assert parallel.run(BangBangAgent(), episodes=3, seed=10) != first
    assert first.lengths == (250, 250, 250)
    assert all(0.0 <= value <= 1000.0 for value in first.returns)
    parallel.close()
    serial.close()


def test_first_episodes_are_filmed():
    recording = Recording(episodes=2, height=4, width=6)
    result = evaluate(
        SeedAndTimeAgent(), "toy/count", 2, episodes=3, seed=1, max_parallel=1, recording=recording
    )
    assert [video.shape for video in result.videos] == [(5, 4, 6, 3), (6, 4, 6, 3)]
    assert result.videos[0][:, 0, 0, 0].tolist() == [10, 11, 12, 13, 14]
    assert result.video_fps == pytest.approx(10.0)  # two control steps of 0.05 s a frame


def test_simulators_are_made_when_needed_reused_and_closed():
    evaluator = Evaluator("toy/count", 2, max_parallel=4)
    assert CountingEnv.made == 1
    for _ in range(2):
        evaluator.run(SeedAndTimeAgent(), episodes=6)
    assert CountingEnv.made == 4
    evaluator.close()
    assert CountingEnv.closed == 4


def test_an_interrupted_evaluation_leaves_no_answer_for_the_next():
    class Interrupted(SeedAndTimeAgent):
        def act(self, obs, state):
            raise KeyboardInterrupt

    evaluator = Evaluator("toy/count", 2, max_parallel=2)
    with pytest.raises(KeyboardInterrupt):
        evaluator.run(Interrupted(), episodes=2)
    assert CountingEnv.made == CountingEnv.closed == 2, "the next call begins with new ones"
    assert evaluator.run(SeedAndTimeAgent(), episodes=2).returns
    evaluator.close()


def test_simulators_are_closed_when_the_agent_fails():
    with pytest.raises(AttributeError):
        evaluate(None, "toy/count", 2, episodes=2)
    assert CountingEnv.made == CountingEnv.closed == 2


def test_statistics_by_hand():
    result = EvaluationResult(returns=(1.0, 2.0, 6.0), lengths=(1, 1, 1), seeds=(0, 1, 2))
    assert (result.mean, result.min, result.max) == (3.0, 1.0, 6.0)
    assert result.std == pytest.approx(math.sqrt(7.0))
    assert result.stderr == pytest.approx(math.sqrt(7.0 / 3.0))
    assert result.normalised(mean=1.0, best=5.0) == 0.5
    assert math.isnan(result.normalised(mean=2.0, best=2.0))
    assert math.isnan(result.normalised(mean=math.nan, best=math.nan))


def test_one_episode_has_no_spread():
    result = EvaluationResult(returns=(4.0,), lengths=(1,), seeds=(0,))
    assert result.mean == 4.0
    assert math.isnan(result.std)
    assert math.isnan(result.stderr)


def test_to_dict_is_json_and_leaves_the_arrays_out():
    result = evaluate(SeedAndTimeAgent(), "toy/count", 2, episodes=2, recording=Recording(1, 2, 2))
    values = json.loads(json.dumps(result.to_dict()))
    assert set(values) == {
        *("mean", "std", "stderr", "min", "max", "returns", "lengths", "seeds", "seconds")
    }
    assert values["returns"] == list(result.returns)


@pytest.mark.parametrize("actions", [np.zeros((2, 3)), np.zeros(2), [[0.0], [0.0], [0.0]]])
def test_actions_of_another_shape_are_refused(actions):
    class WrongAgent:
        def initial_state(self, num):
            return None

        def act(self, obs, state):
            return actions, state

    with pytest.raises(LawmError, match=r"2 episodes have the shape .*toy/count takes \(2, 1\)"):
        evaluate(WrongAgent(), "toy/count", 2, episodes=2)


def test_counts_below_one_are_refused():
    with pytest.raises(LawmError, match="episodes of the evaluation is 0, expected at least 1"):
        evaluate(SeedAndTimeAgent(), "toy/count", 2, episodes=0)
    with pytest.raises(LawmError, match="max_parallel of the evaluation is 0"):
        evaluate(SeedAndTimeAgent(), "toy/count", 2, max_parallel=0)
