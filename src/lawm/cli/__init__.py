"""The command line: `lawm fit`, `evaluate`, `report`, `data`, `bench`, `doctor` and `replay`.

Nothing heavy is imported before a command needs it: `lawm --help` answers at once.
"""

from __future__ import annotations

import argparse
import sys

from lawm import __version__
from lawm.cli.option_spelling import in_known_spelling, options_of
from lawm.errors import LawmError
from lawm.file_faults import file_fault
from lawm.user_modules import import_user_modules

INTERRUPTED = 130  # 128 + SIGINT, what a shell expects
USER_ERROR = 2


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments; None takes those of the process.

    Returns:
        The exit code: 0, 2 after a mistake in the arguments or files, 130 after Ctrl-C, and of
        `lawm fit` 75 after SIGTERM or SIGUSR1: the run was saved and is to be resumed.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return _run(arguments)
    except LawmError as error:
        print(f"lawm: error: {error}", file=sys.stderr)
        return USER_ERROR
    except OSError as error:
        sentence = file_fault(error)
        if sentence is None:
            raise
        print(f"lawm: error: {sentence}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("lawm: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:  # argparse ends so after --help and on its own errors
        return stop.code if isinstance(stop.code, int) else 0


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["fit"]:  # has a parser of its own, which needs torch
        from lawm.cli.fit_command import run_fit

        return run_fit(arguments[1:])
    parser = _parser()
    args = parser.parse_args(in_known_spelling(arguments, set(options_of(parser))))
    import_user_modules(getattr(args, "allow_import", []))
    if args.command == "evaluate":
        from lawm.cli.evaluate_command import run_evaluate

        return run_evaluate(args)
    if args.command == "report":
        from lawm.cli.report_command import run_report

        return run_report(args)
    if args.command == "bench":
        from lawm.cli.bench_command import run_bench

        return run_bench(args)
    if args.command == "doctor":
        from lawm.cli.doctor_command import run_doctor

        return run_doctor(args)
    if args.command == "replay":
        from lawm.cli.replay_command import run_replay

        return run_replay(args)
    if args.command == "data":
        from lawm.cli.data_commands import run_data

        return run_data(args)
    parser.print_help()
    return 0 if not arguments else USER_ERROR


def _parser() -> argparse.ArgumentParser:
    from lawm.cli.bench_arguments import add_bench_parser
    from lawm.cli.data_commands import add_data_parser
    from lawm.cli.evaluate_arguments import add_evaluate_parser
    from lawm.cli.health_arguments import add_health_parsers
    from lawm.cli.report_arguments import add_report_parser

    parser = argparse.ArgumentParser(
        prog="lawm",
        description="Latent-action world models: learn to control from few action labels.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"lawm {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser(
        "fit", help="train world model and policy: lawm fit --config conf/cheetah.yaml"
    )
    add_evaluate_parser(commands)
    add_report_parser(commands)
    add_data_parser(commands)
    add_bench_parser(commands)
    add_health_parsers(commands)
    return parser


__all__ = ["main"]
