"""What an action does, by a world model with few labels beside those that know all actions.

    python -m lawm.benchmarks.action_effects runs/labels --csv results/action_effects.csv

reads the finished world models of a `lawm bench labels`. From states of the held-out episodes,
after a context in which the true actions were told, each model predicts k steps under one action
that is held, and under another; the difference of the two is the effect. The reference is what the
task's oracles have in common, for an oracle what the others have. With x the effect in the model,
y_i that in oracle i, y their mean, and sums over states and dimensions in units of the spread of
the oracles' data:

    size         the mean of Σ y_i y_j over i ≠ j: without what each oracle errs by on its own
    slope        Σ x y / size                1 where effects are as large, below where attenuated
    correlation  Σ x y / √(Σ x² size)
    error        (Σ x² - 2 Σ x y + size) / size

With one oracle its own errors stay in size, which makes slopes smaller and errors larger.

No policy has a part in it, and so none of the chance of its training: a return tells
two world models apart after many runs, this after one.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from lawm.atomic_write import write_atomically
from lawm.batch import EpisodeBatch
from lawm.benchmarks.label_grid import ORACLE, parse_run_name
from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule
from lawm.errors import LawmError
from lawm.posterior_episodes import as_batch
from lawm.rssm import ModelState
from lawm.run_folder import open_run_folder
from lawm.safe_yaml import read_yaml
from lawm.saved_run import load_world_model
from lawm.world_model import WorldModel

HORIZONS = (1, 3, 10)  # steps
CONTEXT, EVERY = 20, 5  # steps before the first state, and between two
Effects = list[Tensor]  # by horizon, each (N, D), in units of the observations


@dataclass(frozen=True)
class Row:
    """One world model and one horizon."""

    task: str
    method: str
    labelled_fraction: float
    seed: int
    horizon: int
    slope: float
    correlation: float
    error: float


@torch.no_grad()
def action_effects(
    model: WorldModel, episodes: EpisodeBatch, horizons: Sequence[int] = HORIZONS
) -> Effects:
    """Differences between predictions under two actions of the episodes, the same for every model.

    Args:
        model: The world model, in evaluation mode.
        episodes: With all actions; every fifth step after the context is a start.
        horizons: Steps for which an action is held.
    """
    torch.manual_seed(0)  # of the posterior's samples
    observed = model.observe(as_batch(episodes))
    num_steps = episodes.action.shape[1]
    time = torch.arange(num_steps)
    happened = time[:, None] < episodes.length  # (T, E)
    starts = (
        happened & (time % EVERY == 0)[:, None] & (time >= min(CONTEXT, num_steps // 2))[:, None]
    )
    start = ModelState(
        observed.h[:-1][starts], model.rssm.latent.mode(observed.z_posterior[:-1][starts])
    )
    actions = episodes.action.transpose(0, 1)[happened]
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(actions), (2, len(start.h)), generator=generator)
    one, other = (_held(model, start, actions[rows], horizons) for rows in chosen)
    return [x - y for x, y in zip(one, other, strict=True)]


def _held(
    model: WorldModel, state: ModelState, action: Tensor, horizons: Sequence[int]
) -> list[Tensor]:
    """Predicted observations after each horizon of one action."""
    rssm, latent_action = model.rssm.bind(), model.latent_action
    projected = latent_action.project_action(action)
    predicted = []
    for step in range(1, max(horizons) + 1):
        posterior = latent_action.action_posterior(state.features, projected)
        u = latent_action.latent.mode(posterior)
        h = rssm.recur(state.h, state.z, model.transition_input.act(u, action))
        state = ModelState(h, model.rssm.latent.mode(model.rssm.prior(h)))
        if step in horizons:
            decoders = (decoder for _, decoder in model.observation_decoder.items())
            parts = [decoder(state.features).flatten(1) for decoder in decoders]
            predicted.append(torch.cat(parts, dim=-1))
    return predicted


def compare(effect: Tensor, references: Sequence[Tensor]) -> tuple[float, float, float]:
    """Slope, correlation and error of effects against those of the reference models, ``(N, D)``."""
    total, num = torch.stack(list(references)).sum(dim=0), len(references)
    own = torch.stack([reference.square().sum() for reference in references]).sum()
    size = (total.square().sum() - own) / (num * (num - 1)) if num > 1 else own
    product, square = (effect * total / num).sum(), effect.square().sum()
    error = (square - 2.0 * product + size) / size
    return float(product / size), float(product / (square * size).sqrt()), float(error)


def spread(model: WorldModel, episodes: EpisodeBatch) -> Tensor:
    """Standard deviation of the model's data for each dimension of an effect, ``(D,)``."""
    parts = []
    for key, decoder in model.observation_decoder.items():
        frames = episodes.obs[key]
        parts.append(decoder.spread(frames).expand(frames.shape[2:]).flatten())
    return torch.cat(parts)


def effects_of_run(run: Path) -> tuple[Effects, Tensor]:
    """Of the held-out episodes of a run's data: the effects, and :func:`spread`.

    Raises:
        LawmError: The run, its data or its world model cannot be read, or nothing is held out.
    """
    folder = open_run_folder(run)
    model = load_world_model(folder.stage("world_model")).eval()
    config = read_yaml(folder.config_file)
    data = MixedTrajectoryDataModule(**config["data"], seed=config["seed"])
    data.setup()
    if not len(data.store.held_out):
        raise LawmError(
            f"{folder.config_file} has data.held_out = {config['data']['held_out']}, which leaves "
            "no held-out episodes to start from. Take runs that hold some out."
        )
    episodes = data.held_out_episodes()
    return action_effects(model, episodes), spread(model, episodes)


def measure(folder: Path) -> list[Row]:
    """Every finished world model of a grid whose task has a reference.

    Raises:
        LawmError: There is none, or the runs of a task are not of the same data.
    """
    found: dict[str, dict[Path, tuple[str, float, int]]] = defaultdict(dict)
    for done in sorted(folder.glob("*/*/world_model/DONE")):
        run = done.parent.parent
        if cell := parse_run_name(run.name):
            found[run.parent.name][run] = cell
    rows: list[Row] = []
    for task, cells in found.items():
        oracles = [run for run, (method, _, _) in cells.items() if method == ORACLE]
        if not oracles:
            continue
        measured = {run: effects_of_run(run) for run in cells}
        effects = {run: of_run for run, (of_run, _) in measured.items()}
        unit = measured[oracles[0]][1]  # one for all: few labelled episodes spread otherwise
        for run, cell in cells.items():
            others = [effects[oracle] for oracle in oracles if oracle != run]
            if len({of_run[0].shape for of_run in [effects[run], *others]}) > 1:
                raise LawmError(
                    f"{run} has other held-out episodes than the oracles of its task. Compare runs "
                    "of the same data.shards and data.held_out."
                )
            for i, horizon in enumerate(HORIZONS if others else ()):
                references = [of_other[i] / unit for of_other in others]
                compared = (
                    round(value, 4) for value in compare(effects[run][i] / unit, references)
                )
                rows.append(Row(task, *cell, horizon, *compared))
    if not rows:
        raise LawmError(
            f"{folder} holds no finished world models beside an oracle's of the same task. "
            "Expected the folder of a `lawm bench labels` (its --out) with two seeds of an oracle, "
            "or an oracle and another method."
        )
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="--out of a `lawm bench labels`"
    )
    parser.add_argument(
        "--csv", type=Path, required=True, metavar="FILE", help="rows, written anew"
    )
    args = parser.parse_args(argv)
    try:
        rows = measure(args.folder)
    except LawmError as error:
        raise SystemExit(f"lawm: {error}") from error
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomically(args.csv, text.getvalue())


if __name__ == "__main__":
    main()


__all__ = ["Row", "action_effects", "compare", "effects_of_run", "main", "measure", "spread"]
