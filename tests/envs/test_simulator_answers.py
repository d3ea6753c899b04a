import numpy as np
import pytest
from tiny_runs import LineEnv

from lawm.envs.simulator_fault import SimulatorFault
from lawm.envs.simulators import LocalSimulators

STATE = {"state": np.zeros(3, np.float32)}
ACTIONS = np.zeros((2, 2))


def simulators(**answers):
    """Two simulators; the second episode answers as told, at its reset or its second step."""

    class Answering(LineEnv):
        def reset(self, seed=None):
            first = super().reset(seed)
            self.seed = seed
            return answers["reset"] if "reset" in answers and seed == 9 else first

        def step(self, action):
            answer = super().step(action)
            is_due = "step" in answers and self.seed == 9 and self.time == 2
            return answers["step"] if is_due else answer

    return LocalSimulators(Answering)


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        ((STATE, np.nan, False, False), r"a reward of nan; expected a finite number$"),
        ((STATE, np.float32(-np.inf), False, False), r"a reward of -inf; expected a finite"),
        ((STATE, None, False, False), r"a NoneType as the reward; expected a number$"),
        ((STATE, np.zeros(1), False, False), r"a ndarray of shape \(1,\) as the reward"),
        (
            ({"state": np.array([0.0, np.nan, np.inf])}, 0.0, False, False),
            r"an observation 'state' that is nan at index \[1\]; expected finite numbers$",
        ),
        (({"state": ["up"]}, 0.0, False, False), r"an observation 'state' of type <U2; expected n"),
        ((np.zeros(3), 0.0, False, False), r"a ndarray as the observation; expected a mapping"),
        ((STATE, 0.0, False, {}), r"a dict for `truncated`; expected True or False, in \(obs"),
        ((STATE, 0.0, 0.5, False), r"a float for `terminated`; expected True or False"),
        ((STATE, 0.0, False, False, {}), r"a tuple of 5; expected the four of \(observation, rew"),
        (None, r"a NoneType; expected the four of"),
    ],
)
def test_a_step_that_is_none_is_told_with_its_place(answer, given):
    running = simulators(step=answer)
    running.reset([5, 9], None)
    running.step(ACTIONS, [0, 1])
    with pytest.raises(SimulatorFault, match=given) as fault:
        running.step(ACTIONS, [0, 1])
    assert str(fault.value).startswith(
        "at step 2 of the episode of seed 9 in tiny/line, the simulator gave "
    )


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        ({"state": np.float64([np.inf])}, r"an observation 'state' that is inf at index \[0\]"),
        ((STATE, {}), r"a tuple; expected the observation alone, .* without infos$"),
        (np.zeros(3), r"a ndarray as the observation; expected a mapping"),
    ],
)
def test_a_reset_that_is_none_is_told_with_its_place(answer, given):
    with pytest.raises(SimulatorFault, match=given) as fault:
        simulators(reset=answer).reset([5, 9], None)
    assert str(fault.value).startswith("at the reset of the episode of seed 9 in tiny/line, the s")


def test_flags_and_rewards_of_numpy_are_taken():
    answer = ({"image": np.zeros((2, 2, 3), np.uint8)}, np.float32(0.5), np.True_, np.array(0))
    running = simulators(step=answer)
    running.reset([5, 9], None)
    running.step(ACTIONS, [0, 1])
    _, seen = running.step(ACTIONS, [0, 1])
    assert (seen.reward, seen.ended, type(seen.reward)) == (0.5, True, float)
    assert seen.obs["image"].dtype == np.uint8
