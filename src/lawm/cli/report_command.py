"""`lawm report`: a page to look at and to hand on."""

from __future__ import annotations

import argparse
from pathlib import Path

from lawm.errors import LawmError
from lawm.html_report.folder_page import folder_page
from lawm.html_report.folder_record import is_run, read_folder, read_several
from lawm.html_report.page_file import check_page_path, write_page
from lawm.html_report.run_page import run_page

PAGE = "report.html"


def run_report(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: The options of :func:`lawm.cli.report_arguments.add_report_parser`.

    Raises:
        LawmError: What is named is no run and no folder of runs, or a file that is no page of
            lawm is in the way.
    """
    paths: list[Path] = args.runs
    out = _out(args)
    check_page_path(out)  # before the work
    if len(paths) == 1 and is_run(paths[0]):
        write_page(out, run_page(paths[0]))
    else:
        record = read_folder(paths[0]) if len(paths) == 1 else read_several(paths)
        if args.each:
            own_pages = [run.path / PAGE for run in record.runs]
            for page in own_pages:
                check_page_path(page)
            for page in own_pages:
                write_page(page, run_page(page.parent))
        write_page(out, folder_page(record, out))
    print(f"Report: {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0


def _out(args: argparse.Namespace) -> Path:
    if args.out is not None:
        return Path(args.out)
    if len(args.runs) > 1:
        raise LawmError(
            f"{len(args.runs)} runs are to be compared; say where the page goes, such as "
            "--out comparison.html."
        )
    folder: Path = args.runs[0]
    if not folder.is_dir():
        raise LawmError(
            f"{folder} is no folder; expected the folder of a `lawm fit`, or one with runs in it."
        )
    return folder / PAGE


__all__ = ["run_report"]
