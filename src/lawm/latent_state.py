"""States of the world model as numpy arrays, for who looks at them from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LatentState:
    """s = (h, z), any number of leading dimensions, such as ``(T + 1,)`` or ``(n, T + 1)``.

    Indexing is that of the leading dimensions: ``states[5]``, ``states[..., :-1]``.
    """

    h: NDArray[np.float32]  # (..., D)
    z: NDArray[np.float32]  # (..., Z)

    @property
    def features(self) -> NDArray[np.float32]:
        """``[h, z]``, what the model's heads read: (..., D + Z)."""
        return np.concatenate([self.h, self.z], axis=-1)

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading dimensions."""
        return self.h.shape[:-1]

    def __getitem__(self, index: Any) -> LatentState:  # noqa: ANN401 (whatever numpy takes)
        """Some of the states."""
        leading = index if isinstance(index, tuple) else (index,)
        return LatentState(self.h[(*leading, slice(None))], self.z[(*leading, slice(None))])


__all__ = ["LatentState"]
