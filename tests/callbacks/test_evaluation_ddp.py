import os
import subprocess
import sys
from pathlib import Path

import pytest

DDP_PROGRAM = """
import sys
import lightning.pytorch as pl
from evaluated_training import PolicyModule, ResumableLoader, make_callback

if __name__ == "__main__":
    folder = sys.argv[1]
    callback = make_callback(
        csv_path=f"{folder}/evaluation.csv", best_checkpoint_path=f"{folder}/best.ckpt"
    )
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_steps=8, max_epochs=-1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, use_distributed_sampler=False,
        callbacks=[callback],
    )
    trainer.fit(PolicyModule(), ResumableLoader())
    with open(f"{folder}/rank{trainer.global_rank}", "w") as file:
        file.write(f"{trainer.global_step} {len(callback.results)}")
"""


@pytest.mark.slow
def test_two_processes_evaluate_once_and_both_finish(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(DDP_PROGRAM)
    tests = str(Path(__file__).parents[1])
    subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": tests},
        check=True,
        timeout=300,
    )
    assert (tmp_path / "rank0").read_text() == "8 2"
    assert (tmp_path / "rank1").read_text() == "8 0"
    rows = (tmp_path / "evaluation.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["4", "8"]
    assert (tmp_path / "best.ckpt").is_file()
