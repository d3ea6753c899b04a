"""`lawm data render`: pictures of trajectories that were collected without them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

RENDER_EPILOG = """\
examples:
  lawm data collect --env dm_control/walker-walk --store-physics --steps 20000 states.h5
  lawm data render states.h5 pixels.h5 --size 64
  lawm data render states.h5 two.h5 --camera side,back --workers 4
  lawm data render imported.h5 pixels.h5 --from-observations

Ctrl-C leaves nothing behind. Train on the pictures alone with --data.observation_keys [pixels].
"""


def add_camera(parser: argparse.ArgumentParser) -> None:
    """Add the option `--camera`."""
    parser.add_argument(
        "--camera",
        type=_names,
        default=(),
        metavar="CAMERAS",
        help="names or numbers, such as side,back: the first gives the key `pixels`, each other "
        "one `pixels_NAME` (the environment's first camera)",
    )


def add_render_parser(commands: Subparsers) -> None:
    """Add `render` to the commands of `lawm data`."""
    parser = commands.add_parser(
        "render",
        allow_abbrev=False,
        help="make the pictures of a shard of states",
        description="Render a shard from the simulator states that it holds, after a check that "
        "they give its observations back, into a new shard that has both.",
        epilog=RENDER_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SHARD.h5", help="states, of `lawm data collect` for example")
    add("path", type=Path, metavar="OUT.h5", help="the shard to write")
    add("--size", type=int, default=64, help="pixels a side (%(default)s)")
    add_camera(parser)
    add(
        "--from-observations",
        action="store_true",
        help="of a shard without simulator states: work them out from the observations, where "
        "these tell enough",
    )
    add("--no-states", action="store_true", help="write the pictures alone")
    add("--workers", type=int, default=1, help="processes that render (%(default)s)")
    add("--overwrite", action="store_true", help="replace an existing shard")


def run_render(args: argparse.Namespace) -> int:
    """Run the command."""
    from lawm.data_modules.render_shard import RenderConfig, render_shard

    options = {k: v for k, v in vars(args).items() if k in RenderConfig.__dataclass_fields__}
    report = render_shard(RenderConfig(**options))
    print(
        f"{report.path}: {report.num_episodes} episodes, {report.num_pictures} pictures at "
        f"{report.num_pictures / report.seconds:.0f} a second ({report.renderer}); the simulator "
        f"gives the stored observations within {report.largest_error:.1e}"
    )
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


__all__ = ["add_camera", "add_render_parser", "run_render"]
