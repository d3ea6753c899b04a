"""Which action shares a row with an observation: the one taken at it, or the one that led into it?

Two independent tests of the data (our own; no format marks its convention):

- *Dummy.* Where actions led into their rows, row 0 has none, and writers put zeros or NaN there.
  Row 0 is a dummy if it is so in every episode while the other rows are not.
- *Dynamics.* With a_t taken at s_t, s_{t+1} depends on s_t and a_t. With a_t led into s_t, it
  depends on a_t only through s_t: given s_t, row t tells nothing and row t + 1 tells what the
  other convention's row t would. Both are regressed on random features of s_t, which a policy's
  own dependence on s_t cannot fool as it could a plain linear fit. Only that row t does tell is
  taken as proof: the actions of a deterministic policy, taken at s_{t+1}, tell of s_{t+1} too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.importer import Convention, RawEpisode, Source
from lawm.data_modules.importers.transitions import as_action_rows, check_rows
from lawm.errors import LawmError

SAMPLE_EPISODES = 64
SAMPLE_ROWS = 20_000
MIN_ROWS = 1_000  # fewer do not carry the regression
MAX_DIMS = 128
NUM_FEATURES = 200
LARGEST = 1e9  # in any unit
TELLS = 0.02  # share of the variance that actions must explain to tell anything
OTHER_NAME: dict[Convention, Convention] = {"taken_at": "led_into", "led_into": "taken_at"}


@dataclass(frozen=True)
class Finding:
    """The convention of rows that actions share with observations, and how it is known."""

    convention: Convention | None  # None: actions lie between the observations, or there are none
    reason: str


def find_convention(source: Source, forced: Convention | None, where: str) -> Finding:
    """What the user says, else what the format states unless the data contradict, else the data.

    Args:
        source: Some of its episodes are read.
        forced: From the command line.
        where: The source, for messages.

    Raises:
        LawmError: Nothing tells, or the data contradict what the format states.
    """
    sample = _sample(source, where)
    shared = [e for e in sample if e.action is not None and len(e.action) == e.num_rows]
    if not shared:
        has_actions = any(e.action is not None for e in sample)
        return Finding(
            None, "actions lie between the observations" if has_actions else "no actions"
        )
    if forced is not None:
        return Finding(forced, "as asked for with --action-convention")
    found, evidence = judge(shared)
    stated, why = source.facts.action_convention, source.facts.convention_reason
    if stated is None and found is None:
        raise LawmError(
            f"The actions of {where} have a row for every observation, and neither its format nor "
            f"its numbers say whether row t was taken at observation t or led into it: {evidence}. "
            "Say it with --action-convention taken_at or --action-convention led_into."
        )
    if stated is None:
        return Finding(found, f"found in the data: {evidence}")
    if found == OTHER_NAME[stated]:
        raise LawmError(
            f"The format of {where} stores actions as {stated} ({why}), but the numbers look like "
            f"{found}: {evidence}. Say which it is with --action-convention."
        )
    agrees = "the data agree" if found else "the data do not contradict"
    return Finding(stated, f"stated by the format ({why}); {agrees}: {evidence}")


def judge(episodes: Iterable[RawEpisode]) -> tuple[Convention | None, str]:
    """The convention of episodes whose actions have a row for every observation, and why.

    Returns:
        The convention, None where the numbers do not tell; and what they show, as half a sentence.
    """
    parts = [(_states(e), _rows(e.action)) for e in episodes if e.action is not None]
    known = [(state, rows) for state, rows in parts if not np.isnan(rows[1:]).all()]
    known = [pair for pair in known if _widths(pair) == _widths(known[0])]  # refused when written
    if not known:
        return None, "no episode has actions"
    dummies = sum(not np.nan_to_num(rows[0]).any() for _, rows in known)
    others = np.concatenate([rows[1:] for _, rows in known])
    idle = float(np.mean(~np.nan_to_num(others).any(axis=1)))
    all_dummy = dummies == len(known) and idle < 0.5
    at, into = dynamics_gains(known)
    evidence = (
        f"row 0 is zero or NaN in {dummies} of {len(known)} episodes, other rows in {idle:.0%}; "
    )
    if np.isnan(at):
        evidence += "too few rows of states to regress on"
    else:
        evidence += (
            f"given the state, row t explains {at:.0%} of the next change of state and row t + 1 "
            f"{into:.0%}"
        )
    taken = bool(at >= TELLS and at >= 0.5 * into)
    led = bool(into >= TELLS and at < 0.2 * into)
    if taken and not all_dummy:
        return "taken_at", evidence
    if all_dummy and not taken and (led or len(known) > 1):
        return "led_into", evidence
    return None, evidence


def dynamics_gains(
    parts: list[tuple[NDArray[np.float64] | None, NDArray[np.float64]]],
) -> tuple[float, float]:
    """How much row t and row t + 1 of the actions tell of s_{t+1} - s_t, given s_t.

    Args:
        parts: Of each episode the states (R, D), None where it has none, and actions (R, A).

    Returns:
        Two shares of held-out variance; NaN where there are too few rows.
    """
    rows = [(s, np.nan_to_num(a)) for s, a in parts if s is not None and len(s) > 1]
    if sum(len(s) - 1 for s, _ in rows) < MIN_ROWS:
        return float("nan"), float("nan")
    state = _standard(np.concatenate([s[:-1] for s, _ in rows]))
    change = _standard(np.concatenate([np.diff(s, axis=0) for s, _ in rows]))
    at = _standard(np.concatenate([a[:-1] for _, a in rows]))
    into = _standard(np.concatenate([a[1:] for _, a in rows]))
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(state.shape[1], NUM_FEATURES)) / np.sqrt(state.shape[1])
    features = np.tanh(state @ weights + rng.normal(size=NUM_FEATURES))
    given = np.concatenate([state, features, np.ones((len(state), 1))], axis=1)
    base = _held_out_error(given, change)
    gains = [
        1.0 - _held_out_error(np.concatenate([given, extra], axis=1), change) / base
        for extra in (at, into)
    ]
    moving = base > 1e-9  # what the state alone predicts leaves nothing to explain
    means = [
        float(np.clip(gain[moving], 0.0, 1.0).mean()) if moving.any() else 0.0 for gain in gains
    ]
    return means[0], means[1]


def _held_out_error(
    inputs: NDArray[np.float64], targets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(D,) mean squared error of a ridge regression on the second half, fitted to the first."""
    half = len(inputs) // 2
    gram = inputs[:half].T @ inputs[:half] + 1e-5 * half * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, inputs[:half].T @ targets[:half])
    error: NDArray[np.float64] = ((targets[half:] - inputs[half:] @ weights) ** 2).mean(axis=0)
    return np.maximum(error, 1e-12)


def _sample(source: Source, where: str) -> list[RawEpisode]:
    """The beginnings of some episodes, with their float vectors."""
    fields = source.observations.items()
    keys = [k for k, f in fields if f.dtype.kind == "f" and len(f.shape) == 1 and not f.left_out]
    sample: list[RawEpisode] = []
    rows = 0
    for episode in source.episodes(keys):
        if episode.num_rows < 2:
            continue
        sample.append(_beginning(episode, SAMPLE_ROWS - rows, where))
        rows += sample[-1].num_rows
        if len(sample) >= SAMPLE_EPISODES or rows > SAMPLE_ROWS - 2:
            break
    return sample


def _beginning(episode: RawEpisode, most: int, where: str) -> RawEpisode:
    """At most so many rows of an episode, with its actions as rows of numbers."""
    check_rows(episode, where)
    num = min(episode.num_rows, most)
    obs = {key: values[:num] for key, values in episode.obs.items()}
    if episode.action is None:
        return replace(episode, num_rows=num, obs=obs, reward=None)
    action = as_action_rows(episode.action, f"{episode.source_id} in {where}")
    shared = len(action) == episode.num_rows
    return replace(
        episode, num_rows=num, obs=obs, reward=None, action=action[: num if shared else num - 1]
    )


def _states(episode: RawEpisode) -> NDArray[np.float64] | None:
    """(R, D) all vectors side by side, at most :data:`MAX_DIMS` of their dimensions."""
    vectors = [v for v in episode.obs.values() if v.ndim == 2 and v.dtype.kind == "f"]
    if not vectors:
        return None
    state = _double(np.concatenate(vectors, axis=1))
    chosen = np.linspace(0, state.shape[1] - 1, min(MAX_DIMS, state.shape[1])).astype(int)
    return np.nan_to_num(state[:, chosen], posinf=0.0, neginf=0.0)


def _widths(pair: tuple[NDArray[np.float64] | None, NDArray[np.float64]]) -> tuple[int, int]:
    """D (0 without states) and A."""
    state, rows = pair
    return 0 if state is None else state.shape[1], rows.shape[1]


def _rows(values: NDArray[np.generic] | None) -> NDArray[np.float64]:
    assert values is not None
    return _double(values.reshape(len(values), -1))


def _double(values: NDArray[np.generic]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a damaged number may be a signalling NaN
        return values.astype(np.float64)


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zero mean and unit spread by column; numbers out of all bounds must not overflow."""
    bounded = np.clip(np.nan_to_num(values), -LARGEST, LARGEST)
    spread = bounded.std(axis=0)
    moves = np.where(spread > 0, spread, 1.0)
    standard: NDArray[np.float64] = (bounded - bounded.mean(axis=0)) / moves
    return standard


__all__ = ["Finding", "dynamics_gains", "find_convention", "judge"]
