"""What `lawm doctor` tries in processes of their own: none of it may hang or end the command."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from lawm.python_process import import_environment, python_command

PROBE_SECONDS = 120  # a first import of torch from a network disk takes most of a minute

PROBES = {
    "device": """
import json, torch
weight = torch.randn(64, 64, requires_grad=True)
(weight @ weight).sum().backward()
found = []
for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
    free, total = torch.cuda.mem_get_info(number)
    one = torch.ones(64, 64, device=f"cuda:{number}")
    assert float((one @ one).sum()) == 64 ** 3
    found.append(f"{torch.cuda.get_device_name(number)} ({free / 2**30:.1f} of {total / 2**30:.1f} "
                 f"GiB free, bfloat16 {'yes' if torch.cuda.is_bf16_supported() else 'no'})")
mps = torch.backends.mps.is_available()
print(json.dumps({"gpus": found, "mps": mps, "cuda_build": torch.version.cuda}))
""",
    "kernels": """
import json, warnings
warnings.simplefilter("error")
from lawm.fused.build import find_kernels
kernels = find_kernels()
built = kernels is not None
print(json.dumps({"built": built, "bf16": built and bool(kernels.lawm_has_bf16())}))
""",
    "simulator": """
import json
import os
from lawm.envs import make_env
env = make_env("dm_control/cheetah-run", 2)
env.reset(0)
env.step(env.action_low)
print(json.dumps({}))
""",
    "rendering": """
import json, time
from lawm.envs import make_env
from lawm.envs.rendering import use_working_renderer
backend = use_working_renderer()
env = make_env("dm_control/cheetah-run", 2)
env.reset(0)
assert env.render(64, 64, 0).std() > 1  # not one colour
began, num = time.perf_counter(), 0
while time.perf_counter() - began < 1.0:
    env.step(env.action_high)
    env.render(64, 64, 0)
    num += 1
print(json.dumps({"backend": backend, "frames": num / (time.perf_counter() - began)}))
""",
    "configuration": """
import json, sys
from lawm.cli.fit_parser import parse_fit
from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule
from lawm.trainer_check import refuse_bad_trainers
config = parse_fit(["--config", sys.argv[1]]).config
refuse_bad_trainers(config)
data = MixedTrajectoryDataModule(**config.data, seed=config.seed)
data.setup("fit")
print(json.dumps({"labelled": len(data.store.labelled), "free": len(data.store.free)}))
""",
}


def probe(
    code: str, *arguments: str, timeout: float = PROBE_SECONDS
) -> tuple[dict[str, Any] | None, str]:
    """Run Python code in a process of its own.

    Args:
        code: Prints a JSON object in its last line.
        arguments: Its command line.
        timeout: Seconds after which it is killed.

    Returns:
        The object, or None and the reason why there is none.
    """
    try:
        done = subprocess.run(
            python_command("-c", code, *arguments),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=import_environment(),
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {timeout:g} s"
    except OSError as error:
        return None, f"no process can be started: {error.strerror}"
    if done.returncode < 0:
        return None, f"killed by signal {-done.returncode}"
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        values: dict[str, Any] = json.loads(lines[-1])
        return values, ""
    last = done.stderr.strip().rsplit("\n", 1)[-1]
    return None, last or f"exit code {done.returncode}"


__all__ = ["PROBES", "PROBE_SECONDS", "probe"]
