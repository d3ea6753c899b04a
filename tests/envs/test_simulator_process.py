import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import EPISODE_STEPS, LineEnv

from lawm.envs.simulator_fault import SimulatorFault
from lawm.envs.simulator_process import SimulatorProcess
from lawm.envs.simulators import LocalSimulators, Recording
from lawm.errors import LawmError

RECORDING = Recording(episodes=1, height=4, width=6)


class FaultyEnv(LineEnv):
    """Its second step ends as `fault` says."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def step(self, action):
        if self.time == 1:
            self.fault()
        return super().step(action)


def sleep_for_ever():
    while True:
        time.sleep(60)


def not_finite():
    raise LawmError("An action is not finite.")


def episode(simulators, actions):
    """All that two simulators give in one episode."""
    seen = [*simulators.reset([3, 4], RECORDING)]
    for _ in range(EPISODE_STEPS):
        seen += simulators.step(actions, [0, 1])
    return seen


def test_a_process_gives_what_simulators_here_give():
    actions = np.array([[0.25, 0.5], [1.0, -1.0]])
    here, there = LocalSimulators(LineEnv), SimulatorProcess(LineEnv, timeout=30)
    assert there.frame_seconds == here.frame_seconds
    np.testing.assert_array_equal(there.action_low, here.action_low)
    np.testing.assert_array_equal(there.action_high, here.action_high)
    for one, other in zip(episode(here, actions), episode(there, actions), strict=True):
        assert (one.reward, one.ended) == (other.reward, other.ended)
        np.testing.assert_array_equal(one.obs["state"], other.obs["state"])
        assert (one.picture is None) == (other.picture is None)
        np.testing.assert_array_equal(one.picture, other.picture)
    there.close()


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (lambda: 1 / 0, SimulatorFault, "^ZeroDivisionError: division by zero$"),
        (lambda: os._exit(7), SimulatorFault, "died during step, exit code 7"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), SimulatorFault, "killed by SIGSEGV"),
        (not_finite, LawmError, "not finite"),
        (sleep_for_ever, SimulatorFault, "no answer to step within the timeout of 0.5 s"),
    ],
    ids=["raises", "exits", "crashes", "own sentence", "hangs"],
)
def test_a_fault_has_its_reason_and_leaves_no_process(fault, kind, message):
    simulators = SimulatorProcess(lambda: FaultyEnv(fault), timeout=0.5)
    simulators.reset([0], None)
    simulators.step(np.zeros((1, 2)), [0])
    with pytest.raises(kind, match=message):
        simulators.step(np.zeros((1, 2)), [0])
    assert multiprocessing.active_children() == []
    simulators.close()  # once more does no harm


def test_a_fault_during_set_up_has_its_reason():
    with pytest.raises(SimulatorFault, match=r"^ZeroDivisionError"):
        SimulatorProcess(lambda: 1 / 0, timeout=30)
    with pytest.raises(SimulatorFault, match="died during set-up, exit code 3"):
        SimulatorProcess(lambda: os._exit(3), timeout=30)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_what_is_sent_to_a_whole_job_is_left_to_the_parent(name):
    """So that the evaluation which a stop falls into is finished, and not lost."""
    simulators = SimulatorProcess(LineEnv, timeout=30)
    (worker,) = multiprocessing.active_children()
    for _ in range(3):
        os.kill(worker.pid, getattr(signal, name))
        assert len(simulators.reset([0], None)) == 1
    simulators.close()


def test_a_worker_that_is_killed_is_told():
    simulators = SimulatorProcess(LineEnv, timeout=30)
    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(SimulatorFault, match="killed by SIGKILL"):
        simulators.reset([0], None)


def test_a_program_ends_though_a_worker_was_not_closed():
    """Python's own way at exit, SIGTERM and a wait without end, would find nobody who obeys."""
    code = (
        "from tiny_runs import LineEnv\n"
        "from lawm.envs.simulator_process import SimulatorProcess\n"
        "simulators = SimulatorProcess(LineEnv, timeout=30)\n"
        "simulators.reset([0], None)\n"
    )
    tests = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=tests, check=True, timeout=60)


def test_a_worker_does_not_outlive_its_parent(tmp_path):
    """Even one that hangs, when its parent is killed."""
    note = tmp_path / "pid"

    def parent():
        def hang():
            note.write_text(str(os.getpid()))
            sleep_for_ever()

        multiprocessing.current_process()._config["daemon"] = False
        SimulatorProcess(hang, timeout=600)

    process = multiprocessing.Process(target=parent)
    process.start()
    while not note.exists() or not note.read_text():
        time.sleep(0.02)
    process.kill()
    process.join()
    worker = int(note.read_text())
    for _ in range(500):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if _is_zombie(worker):
            return
        time.sleep(0.02)
    pytest.fail("the worker is still there")


def _is_zombie(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
