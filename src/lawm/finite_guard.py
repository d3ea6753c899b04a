"""No update from a loss or gradient that is not finite, without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor


class NotFiniteError(ArithmeticError):
    """A loss or gradient was not finite; the weights are those before that update.

    Args:
        step: Updates done before it.
        loss: Of that update.
        gradient_norm: Over all parameters.

    Attributes:
        told: The sentence for the user, once somebody knows which batch it was.
    """

    told: str = ""

    def __init__(self, step: int, loss: float, gradient_norm: float) -> None:
        super().__init__(f"loss {loss}, gradient norm {gradient_norm} in step {step}")
        self.step, self.loss, self.gradient_norm = step, loss, gradient_norm


class FiniteGuard:
    """Remembers on the device whether a loss or gradient was not finite, and which was the first.

    From then on no fused optimiser changes a weight: it reads the same flag that a gradient scaler
    would set, on the device. So the host need not look at every step, and still finds the weights
    as they were before the first bad update.
    """

    def __init__(self) -> None:
        self._found: Tensor | None = None  # () float32: 1 once something was not finite
        self._first: Tensor  # (3,) float64: step, loss and gradient norm of the first such update

    def watch(
        self, optimizer: torch.optim.Optimizer, step: int, loss: Tensor, gradient_norm: Tensor
    ) -> None:
        """Look at an update that is about to be made; on a CPU, where looking is free, say so.

        Args:
            optimizer: Fused Adam or AdamW; another one is not held back on a GPU.
            step: Updates done.
            loss: ().
            gradient_norm: (), over all parameters, before clipping.

        Raises:
            NotFiniteError: On a CPU, before the update is made.
        """
        loss, gradient_norm = loss.detach(), gradient_norm.detach()
        bad = ~(loss.isfinite() & gradient_norm.isfinite())
        now = torch.stack([torch.full_like(loss, step), loss, gradient_norm]).double()
        if self._found is None:
            self._found, self._first = bad.float(), now
        else:
            self._first = torch.where(self._found > 0, self._first, now)
            self._found = torch.maximum(self._found, bad.float())
        if optimizer.defaults.get("fused"):  # the others refuse the flag
            optimizer.found_inf = self._found  # type: ignore[attr-defined]  # what GradScaler sets
        if loss.device.type == "cpu":
            self.raise_if_found()

    def raise_if_found(self) -> None:
        """Look at what was remembered; waits for the device.

        Raises:
            NotFiniteError: Something was not finite since the guard was made.
        """
        if self._found is not None and self._found.item() > 0:
            step, loss, gradient_norm = self._first.tolist()
            raise NotFiniteError(int(step), loss, gradient_norm)


__all__ = ["FiniteGuard", "NotFiniteError"]
