"""Which episodes to label where few can be: those that the others' observations lie near to.

    d(X)  = mean over reference observations of the distance to the nearest one of the set X
    next  = the episode that makes d(labelled so far and this one) smallest

Greedy facility location (Nemhauser, Wolsey and Fisher 1978; for choosing what to label, Wei, Iyer
and Bilmes, "Submodularity in Data Subset Selection and Active Learning", ICML 2015). Distances are
Euclidean between standardised observations. Observations alone are read, never actions or rewards,
so that the choice can be made before anything is labelled; that it is made so is our own addition.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.shard_file import ShardArray
from lawm.data_modules.shard_headers import ShardHeader
from lawm.data_modules.shard_reader import open_shard

COVERAGE_STREAM = 2**63 + 2  # second half of the generator's key
MAX_REFERENCES = 2048  # observations to be near to
MAX_CANDIDATES = 1000  # episodes to choose from
MAX_FRAMES = 50  # observations that stand for an episode
PICTURE_SIDE = 8  # pixels to which a picture is averaged


def coverage_order(
    headers: Sequence[ShardHeader],
    candidates: NDArray[np.int64],
    training: NDArray[np.int64],
    count: int,
    *,
    seed: int,
) -> NDArray[np.int64]:
    """Choose ``count`` of the candidates, nested: fewer with the same seed are among more.

    Above :data:`MAX_CANDIDATES` a random part of the candidates is looked at, or as many as are
    asked for; where that leaves little to choose from, a warning says so. Time and memory (at most
    some hundred megabytes) grow with that part and not with the data.

    Args:
        headers: The shards in the order by which their episodes are numbered.
        candidates: (C,) numbers of episodes that may be labelled.
        training: Numbers of all episodes that are trained on; what is to be covered.
        count: How many to choose, at most C.
        seed: Draws the reference observations, and the part of the candidates.

    Returns:
        (count,) the chosen numbers in the order of their choice.

    Raises:
        LawmError: A shard is damaged where it is read.
    """
    assert 0 < count <= len(candidates), (count, len(candidates))
    draw = np.random.default_rng(np.random.Philox(key=np.array([seed, COVERAGE_STREAM], np.uint64)))
    looked_at = draw.permutation(candidates)[: max(MAX_CANDIDATES, count)]
    if len(looked_at) < len(candidates) and count > len(looked_at) / 2:
        warnings.warn(
            f"Coverage looks at {len(looked_at)} of the {len(candidates)} episodes, drawn at "
            f"random, and {count} of them are to be labelled: most of that choice is chance.",
            stacklevel=2,
        )
    num_rows = np.concatenate([header.episodes.lengths for header in headers]) + 1  # (E,)
    drawn = _draw_rows(training, num_rows[training], draw)
    reference = np.concatenate([*_read_rows(headers, drawn).values()]).astype(np.float64)
    mean, scale = reference.mean(axis=0), reference.std(axis=0)
    scale[scale <= 1e-6 * scale.max()] = np.inf  # what does not change is not compared
    scale *= np.sqrt(_sizes_of_keys(headers[0]))  # no key outweighs another by its size
    reference = (reference - mean) / scale
    frames = _read_rows(headers, {int(e): _evenly(int(num_rows[e])) for e in looked_at})
    distance = np.stack([_nearest((frames[int(e)] - mean) / scale, reference) for e in looked_at])
    ordered: NDArray[np.int64] = looked_at[greedy_cover(distance, count)]
    return ordered


def greedy_cover(distance: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The choice itself.

    Args:
        distance: (C, M) of each candidate to each reference.
        count: How many to choose, at most C.

    Returns:
        (count,) candidates in the order of their choice; the earlier one of equals.
    """
    left = np.ones(len(distance), np.bool_)
    nearest = np.full(distance.shape[1], np.inf)
    chosen: list[int] = []
    for _ in range(count):
        cover = np.minimum(distance, nearest).mean(axis=1)
        best = int(np.where(left, cover, np.inf).argmin())
        chosen.append(best)
        left[best] = False
        nearest = np.minimum(nearest, distance[best])
    return np.array(chosen, np.int64)


def _nearest(frames: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) distance of each reference (M, D) to the nearest of the frames (F, D)."""
    square = (frames**2).sum(axis=1)[:, None] + (reference**2).sum(axis=1)
    square -= 2.0 * frames @ reference.T
    nearest: NDArray[np.float64] = np.sqrt(square.min(axis=0).clip(min=0.0))
    return nearest


def _draw_rows(
    episodes: NDArray[np.int64], num_rows: NDArray[np.int64], draw: np.random.Generator
) -> dict[int, NDArray[np.int64]]:
    """Rows of these episodes by their numbers; each observation has the same chance."""
    offset = np.cumsum([0, *num_rows])
    total = int(offset[-1])
    rows = np.sort(draw.choice(total, min(MAX_REFERENCES, total), replace=False))
    of = np.searchsorted(offset, rows, side="right") - 1
    return {int(episodes[n]): rows[of == n] - offset[n] for n in np.unique(of)}


def _evenly(num_rows: int) -> NDArray[np.int64]:
    return np.linspace(0, num_rows - 1, min(num_rows, MAX_FRAMES)).round().astype(np.int64)


def _read_rows(
    headers: Sequence[ShardHeader], wanted: Mapping[int, NDArray[np.int64]]
) -> dict[int, NDArray[np.float32]]:
    """(n, D) observations by episode, for the wanted rows of it; each shard is opened once."""
    found: dict[int, NDArray[np.float32]] = {}
    first = 0
    for header in headers:
        here = [e for e in wanted if first <= e < first + header.episodes.num_episodes]
        if here:
            with open_shard(header.path) as shard:
                arrays = [shard.obs[key] for key in header.obs]
                for episode in here:
                    rows = wanted[episode] + header.episodes.offset[episode - first]
                    found[episode] = np.stack(
                        [np.concatenate([_numbers(a, int(row)) for a in arrays]) for row in rows]
                    )
        first += header.episodes.num_episodes
    return found


def _numbers(array: ShardArray, row: int) -> NDArray[np.float32]:
    """(D,) an observation as numbers: a state as it is, a picture as that of a few pixels."""
    value: NDArray[Any] = array.read(row, row + 1)[0].astype(np.float32)
    if value.ndim == 3:
        for axis in (0, 1):
            edges = _picture_edges(value.shape[axis])
            shape = [-1 if of == axis else 1 for of in range(3)]
            counts = np.diff([*edges, value.shape[axis]]).reshape(shape)
            value = np.add.reduceat(value, edges, axis=axis) / counts
    return value.astype(np.float32).ravel()


def _picture_edges(pixels: int) -> NDArray[np.int64]:
    side = min(PICTURE_SIDE, pixels)
    return np.arange(side) * pixels // side


def _sizes_of_keys(header: ShardHeader) -> NDArray[np.int64]:
    """(D,) of how many numbers the key of each number is made up."""
    sizes = []
    for layout in header.obs.values():
        shape = layout.step_shape
        if len(shape) == 3:
            shape = (*(len(_picture_edges(pixels)) for pixels in shape[:2]), shape[2])
        sizes.append(math.prod(shape))
    return np.repeat(sizes, sizes)


__all__ = ["coverage_order", "greedy_cover"]
