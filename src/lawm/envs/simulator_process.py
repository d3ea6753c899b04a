"""Simulators in a process of their own, whose crash or hang is an error here and no more."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from lawm.envs.environment import Environment
from lawm.envs.simulator_fault import SimulatorFault
from lawm.envs.simulators import LocalSimulators, Recording, Seen, Simulators
from lawm.errors import LawmError
from lawm.user_modules import import_user_modules, user_modules
from lawm.worker_process import how_it_ended, settle_in, start_worker


class SimulatorProcess:
    """:class:`~lawm.envs.simulators.LocalSimulators` in a worker process.

    After a fault the worker is gone: make another one.

    Args:
        make: Makes one simulator; see :func:`~lawm.worker_process.start_worker`.
        timeout: Seconds that one answer may take: setting the first simulator up, starting
            episodes, a step of all of them. A worker that needs longer is killed.

    Raises:
        LawmError: What setting up the first simulator raised.
        SimulatorFault: The worker died, hung, or raised something else.
    """

    def __init__(self, make: Callable[[], Environment], timeout: float) -> None:
        self._timeout = timeout
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = start_worker(_serve, make, theirs, self._pipe, os.getpid(), user_modules())
        theirs.close()
        self.frame_seconds, self.action_low, self.action_high = self._answer("set-up")

    def reset(self, seeds: Sequence[int], recording: Recording | None) -> list[Seen]:
        """See :class:`~lawm.envs.simulators.Simulators`."""
        seen: list[Seen] = self._call("reset", seeds, recording)
        return seen

    def step(self, actions: np.ndarray, running: Sequence[int]) -> list[Seen]:
        """See :class:`~lawm.envs.simulators.Simulators`."""
        seen: list[Seen] = self._call("step", actions, running)
        return seen

    def close(self) -> None:
        """End the worker: by itself, or within a second by force."""
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(timeout=1.0)
        self._kill()

    def _call(self, method: str, *args: Any) -> Any:  # noqa: ANN401
        with contextlib.suppress(OSError):  # a dead worker is told by its missing answer
            self._pipe.send((method, args))
        return self._answer(method)

    def _answer(self, method: str) -> Any:  # noqa: ANN401
        try:
            if not self._pipe.poll(self._timeout):
                self._kill()
                raise SimulatorFault(
                    f"the simulator gave no answer to {method} within the timeout of "
                    f"{self._timeout:g} s and was killed"
                )
            error, result = self._pipe.recv()
        except (EOFError, OSError):
            self._kill()
            ending = how_it_ended(self._process.exitcode)
            raise SimulatorFault(
                f"the simulator's process died during {method}, {ending}"
            ) from None
        if error is None:
            return result
        self._kill()
        raise error

    def _kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


def start_simulators(make: Callable[[], Environment], timeout: float | None) -> Simulators:
    """Simulators in a process of their own, or, without a timeout, in this one."""
    return LocalSimulators(make) if timeout is None else SimulatorProcess(make, timeout)


def _serve(
    make: Callable[[], Environment],
    pipe: Connection,
    parents_end: Connection,
    parent: int,
    modules: Sequence[str],
) -> None:
    """What the worker does: answers until it is told to end or its parent is gone."""
    if not settle_in(parent):
        return
    parents_end.close()  # else the pipe never ends
    try:
        import_user_modules(modules)  # of no effect where the worker was forked
        simulators = LocalSimulators(make)
        first = (simulators.frame_seconds, simulators.action_low, simulators.action_high)
        pipe.send((None, first))
        while (request := pipe.recv()) is not None:
            method, args = request
            pipe.send((None, getattr(simulators, method)(*args)))
        simulators.close()
    except (EOFError, BrokenPipeError):
        pass
    except (LawmError, SimulatorFault) as error:
        pipe.send((error, None))
    except Exception as error:  # simulators raise anything, also what cannot be sent
        pipe.send((SimulatorFault(f"{type(error).__name__}: {error}"), None))
    finally:
        os._exit(0)  # what the parent registered for its own end is not the worker's to run


__all__ = ["SimulatorProcess", "start_simulators"]
