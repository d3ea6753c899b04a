"""Training on the linear system, for tests of what a model learns."""

from __future__ import annotations

import numpy as np
from linear_system import windows

EPISODES, LABELLED, STEPS = 40, 4, 40
UPDATES, ROWS, WINDOW = 250, 16, 10


def train(module, data):
    """Half of the rows from the four labelled episodes, half from the action-free ones."""
    optimisers = module.configure_optimizers()
    optimiser, schedule = optimisers["optimizer"], optimisers["lr_scheduler"]["scheduler"]
    rng = np.random.default_rng(0)
    for _ in range(UPDATES):
        labelled = rng.integers(LABELLED, size=ROWS // 2)
        free = rng.integers(LABELLED, EPISODES, size=ROWS // 2)
        start = rng.integers(STEPS - WINDOW + 1, size=ROWS)
        batch = windows(data, np.concatenate([labelled, free]), start, WINDOW, ROWS // 2)
        loss, _ = module.compute_loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
