"""Run folders to a CSV, a row a run, and a table with mean and spread over seeds.

    python benchmarks/summarise_runs.py runs/bench --csv results/foundation.csv

Every folder is named ``<task>-<method>-<seed>`` and was made by

    lawm fit --config conf/<task>.yaml [--config conf/<method>.yaml] --seed <seed> \
        --data.label_seed <seed> --run_dir runs/bench/<task>-<method>-<seed>

where the method ``lawm`` takes no second configuration.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
from pathlib import Path
from typing import Any

COLUMNS = (
    "task", "method", "labelled_episodes", "labelled_fraction", "seed", "return_final",
    "return_final_std", "return_best", "step_best", "data_mean", "data_best", "action_r2",
    "hours", "commit", "command",
)  # fmt: skip


def row_of(folder: Path, commit: str) -> dict[str, Any]:
    """The row of one run."""
    task, method, seed = folder.name.rsplit("-", 2)
    report = json.loads((folder / "report.json").read_text())
    data, evaluation, stages = report["data"], report["evaluation"], report["stages"]
    labelled, free = data["labelled episodes"], data["action-free episodes"]
    preset = "" if method == "lawm" else f" --config conf/{method}.yaml"
    return {
        "task": task,
        "method": method,
        "labelled_episodes": labelled,
        "labelled_fraction": round(labelled / (labelled + free), 4),
        "seed": int(seed),
        "return_final": round(evaluation["final"]["mean"], 1),
        "return_final_std": round(evaluation["final"]["std"], 1),
        "return_best": round(evaluation["best"]["mean"], 1),
        "step_best": evaluation["best"]["step"],
        "data_mean": round(data["return mean"], 1),
        "data_best": round(data["return best"], 1),
        "action_r2": round(stages["world_model"]["metrics"]["held_out/action_r2_inverse"], 3),
        "hours": round(sum(stage["seconds"] for stage in stages.values()) / 3600, 3),
        "commit": commit,
        "command": f"lawm fit --config conf/{task}.yaml{preset} --seed {seed} "
        f"--data.label_seed {seed} --threads 1",
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Mean and sample standard deviation over the seeds, as Markdown."""
    lines = [
        "| task | method | labelled episodes | seeds | final return | best along the run | "
        "held-out action R² |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, method in dict.fromkeys((row["task"], row["method"]) for row in rows):
        group = [row for row in rows if (row["task"], row["method"]) == (task, method)]
        cells = []
        for name, digits in (("return_final", 0), ("return_best", 0), ("action_r2", 2)):
            values = [row[name] for row in group]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            cells.append(f"{statistics.fmean(values):.{digits}f} ± {spread:.{digits}f}")
        labelled = "/".join(dict.fromkeys(str(row["labelled_episodes"]) for row in group))
        lines.append(f"| {task} | {method} | {labelled} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Write the CSV and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of run folders")
    parser.add_argument("--csv", type=Path, help="where the rows go")
    parser.add_argument("--commit", default="", help="commit that the runs were made with")
    args = parser.parse_args()
    done = sorted(path.parent for path in args.folder.glob("*/report.json"))
    if not done:
        sys.exit(
            f"{args.folder} holds no finished run: expected <task>-<method>-<seed>/report.json."
        )
    rows = [row_of(folder, args.commit) for folder in done]
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    print(table(rows))


if __name__ == "__main__":
    main()
