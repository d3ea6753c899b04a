"""The one exception that a simulator at fault raises."""


class SimulatorFault(Exception):  # noqa: N818 (the simulator's, not this program's)
    """A simulator raised, died, did not answer, or answered what none may answer.

    The message is the whole reason, without a full stop: it is told as part of a sentence. It costs
    an evaluation and not the run.
    """


__all__ = ["SimulatorFault"]
