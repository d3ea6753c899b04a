from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lawm.data_modules.importers.action_convention import judge
from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.importer import RawEpisode
from lawm.data_modules.importers.run_import import run_import
from lawm.data_modules.importers.transitions import to_transitions
from lawm.data_modules.shard_reader import read_shard
from lawm.errors import LawmError

REPLAY = Path(__file__).parents[3] / "data" / "cheetah_run_sac_replay.h5"
Pairs = list[tuple[np.ndarray, np.ndarray]]  # states (T + 1, D) and actions (T, A) of each episode


def system(
    seed: int, *, noise: float = 0.5, episodes: int = 10, steps: int = 150, dim: int = 4
) -> Pairs:
    """A random stable linear system under a non-linear policy with noise in its actions."""
    rng = np.random.default_rng(seed)
    drift = 0.9 * np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    push, gain = rng.normal(size=(2, dim)), rng.normal(size=(dim, 2))
    pairs = []
    for _ in range(episodes):
        states, actions = [rng.normal(size=dim)], []
        for _ in range(steps):
            wanted = np.tanh(states[-1] @ gain) + noise * rng.normal(size=2)
            actions.append(np.clip(wanted, -1, 1))
            following = states[-1] @ drift + actions[-1] @ push
            states.append(following + 0.05 * rng.normal(size=dim))
        pairs.append((np.array(states, np.float32), np.array(actions, np.float32)))
    return pairs


@functools.cache
def replay() -> Pairs:
    """Episodes of cheetah-run, from the beginning and the end of a SAC run."""
    shard = read_shard(REPLAY)
    assert shard.action is not None
    spans = list(zip(shard.episodes.offset[:-1], shard.episodes.offset[1:], strict=True))
    chosen = spans[:2] + spans[-2:]
    return [(shard.obs["state"][a:b], shard.action[a : b - 1]) for a, b in chosen]


def shared_rows(pairs: Pairs, convention: str, spare: float = 0.0) -> list[RawEpisode]:
    """Episodes whose actions have a row for every observation.

    Args:
        pairs: The episodes.
        convention: How the rows are shared.
        spare: What stands in the row that belongs to no transition.
    """
    made = []
    for index, (state, action) in enumerate(pairs):
        row = np.full((1, action.shape[1]), spare, np.float32)
        parts = [action, row] if convention == "taken_at" else [row, action]
        made.append(
            RawEpisode(
                num_rows=len(state),
                obs={"state": state},
                action=np.concatenate(parts),
                reward=None,
                terminated=False,
                truncated=True,
                source_id=str(index),
            )
        )
    return made


@pytest.mark.parametrize("spare", [0.0, 0.3])
@pytest.mark.parametrize("pairs", [replay(), *map(system, range(2))], ids=lambda _: "")
def test_actions_taken_at_their_row_are_found(pairs: Pairs, spare: float) -> None:
    assert judge(shared_rows(pairs, "taken_at", spare))[0] == "taken_at"


@pytest.mark.parametrize("spare", [0.0, float("nan")])
@pytest.mark.parametrize("pairs", [replay(), *map(system, range(2))], ids=lambda _: "")
def test_actions_that_led_into_their_row_are_found(pairs: Pairs, spare: float) -> None:
    assert judge(shared_rows(pairs, "led_into", spare))[0] == "led_into"


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("convention", ["taken_at", "led_into"])
def test_a_policy_without_noise_never_tells_the_wrong_one(seed: int, convention: str) -> None:
    found, _ = judge(shared_rows(system(seed, noise=0.0), convention, 0.3))
    assert found in (convention, None)


@pytest.mark.parametrize("convention", ["taken_at", "led_into"])
def test_zero_actions_tell_nothing(convention: str) -> None:
    pairs = [(state, np.zeros_like(action)) for state, action in system(0)]
    assert judge(shared_rows(pairs, convention))[0] is None


def test_actions_without_any_effect_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    pairs = [(state, rng.normal(size=action.shape)) for state, action in system(0)]
    assert judge(shared_rows(pairs, "taken_at", 0.3))[0] is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_numbers_out_of_all_bounds_are_judged_as_well(value: float) -> None:
    episodes = shared_rows(system(0), "taken_at")
    for episode in episodes[::2]:
        assert episode.action is not None
        episode.action[3], episode.obs["state"][4] = value, value
    assert judge(episodes)[0] in ("taken_at", None)


@pytest.mark.parametrize("convention", ["taken_at", "led_into"])
@pytest.mark.parametrize("seed", range(3))
def test_both_conventions_become_the_same_transitions(convention: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    action = rng.normal(size=(7, 2)).astype(np.float32)
    reward = rng.normal(size=7).astype(np.float32)
    spare = np.full(1, np.nan if seed else 0.0, np.float32)

    def shared(rows: np.ndarray) -> np.ndarray:
        extra = np.resize(spare, (1, *rows.shape[1:]))
        return np.concatenate([rows, extra] if convention == "taken_at" else [extra, rows])

    episode = RawEpisode(8, {}, shared(action), shared(reward)[:, None], False, True, "x")
    steps = to_transitions(episode, convention, convention, "here")  # type: ignore[arg-type]
    np.testing.assert_array_equal(steps.action, action)
    np.testing.assert_array_equal(steps.reward, reward)
    assert not steps.lost_action and not steps.odd_dummy and steps.lost_reward == 0.0


def test_rewards_may_follow_another_convention_than_actions() -> None:
    action, reward = np.ones((4, 1), np.float32), np.arange(4.0, dtype=np.float32)
    episode = RawEpisode(4, {}, action, reward, False, True, "x")
    steps = to_transitions(episode, "taken_at", "led_into", "here")
    np.testing.assert_array_equal(steps.reward, [1.0, 2.0, 3.0])
    assert steps.lost_action


def write(path: Path, pairs: Pairs, convention: str) -> Path:
    episodes = shared_rows(pairs, convention)
    np.savez(
        path,
        obs=np.stack([episode.obs["state"] for episode in episodes]),
        act=np.stack([episode.action for episode in episodes]),
    )
    return path


def imported(source: Path, **options: Any) -> np.ndarray:
    """(E, T, A) actions of the shard."""
    path = source.with_suffix(".h5")
    run_import(source, path, ImportOptions(overwrite=True, **options))
    shard = read_shard(path)
    assert shard.action is not None
    return shard.action.reshape(shard.episodes.num_episodes, -1, 2)[:, :-1]


@pytest.mark.parametrize("convention", ["taken_at", "led_into"])
def test_a_source_that_does_not_say_is_judged_by_its_data(tmp_path: Path, convention: str) -> None:
    pairs = system(0)
    source = write(tmp_path / "a.npz", pairs, convention)
    np.testing.assert_array_equal(imported(source), np.stack([action for _, action in pairs]))


def test_what_is_asked_for_overrules_the_data(tmp_path: Path) -> None:
    pairs = system(0)
    source = write(tmp_path / "a.npz", pairs, "led_into")
    expected = np.stack([np.vstack([np.zeros((1, 2)), action[:-1]]) for _, action in pairs])
    np.testing.assert_array_equal(imported(source, action_convention="taken_at"), expected)


def test_data_that_contradict_their_format_are_refused(tmp_path: Path) -> None:
    episodes = shared_rows(system(0), "led_into")
    path = tmp_path / "a.npz"
    rows = [episode.obs["state"] for episode in episodes]
    ends = np.concatenate([np.arange(len(part)) == len(part) - 1 for part in rows])
    actions = np.concatenate([episode.action for episode in episodes if episode.action is not None])
    np.savez(path, observations=np.concatenate(rows), actions=actions, terminals=ends)
    with pytest.raises(LawmError, match=r"stores actions as taken_at .* look like led_into"):
        imported(path)
    assert not path.with_suffix(".h5").exists()
    imported(path, action_convention="led_into")


def test_damaged_numbers_cost_no_warning():
    """A float of a damaged file may be a signalling NaN, which numpy warns of where it is cast."""
    signalling = np.array([0x7FA00000], np.uint32).view(np.float32)
    pairs = system(0)
    for state, action in pairs:
        state[3, 1], action[5, 0] = signalling[0], signalling[0]
    judge(shared_rows(pairs, "taken_at"))
