"""Learning rate over a stage: a rise, a plateau, a fall."""

from __future__ import annotations

from collections.abc import Callable


def warmup_and_cooldown(
    warmup_steps: int, total_steps: int, cooldown: float, floor: float = 0.05
) -> Callable[[int], float]:
    """Factor on the learning rate at each step.

    The fall at the end averages out the noise of the last updates: losses drop once more, and the
    policy at the end is not the accident of one batch.

    Args:
        warmup_steps: Steps of the linear rise from near 0 to 1.
        total_steps: Steps of the stage; below 1 where they are not limited, then there is no fall.
        cooldown: Share of the stage over which the factor falls linearly from 1 to ``floor``.
        floor: Factor at the end.

    Returns:
        A function of the step, from 0.
    """
    cooldown_steps = cooldown * max(total_steps, 0)

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(warmup_steps, 1))
        if cooldown_steps == 0:
            return rise
        left = max(total_steps - step, 0) / cooldown_steps
        return min(rise, max(floor, min(1.0, left)))

    return factor


__all__ = ["warmup_and_cooldown"]
