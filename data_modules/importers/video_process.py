"""Videos decoded in a process of their own, whose crash or hang is a sentence here and no more."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection

from lawm.data_modules.importers import video_decoder
from lawm.data_modules.importers.video_files import VideoFile
from lawm.data_modules.importers.video_messages import (
    MAX_TEXT,
    Alive,
    Message,
    Refusal,
    VideoFacts,
    from_bytes,
    to_bytes,
)
from lawm.data_modules.importers.video_options import VideoOptions
from lawm.errors import LawmError
from lawm.worker_process import how_it_ended, settle_in, start_worker

PATIENCE = 60.0  # seconds without a word
MEMORY = 4 << 30  # bytes that decoding may take
ADVICE = "The file is damaged or made to do harm; take it from its source again, or leave it out."


def need_extra() -> None:
    """Import what decodes, so that a worker need not.

    Raises:
        LawmError: The extra is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise LawmError(
            "Videos need the package av, which is missing. Install it with "
            "`pip install 'lawm[video]'`."
        ) from error
    assert av


def probe_videos(files: Sequence[VideoFile]) -> list[VideoFacts]:
    """The facts of each file.

    Raises:
        LawmError: One cannot be read, has no video, or took the process down; names it.
    """
    found: list[VideoFacts] = []
    for message in _messages(_probe_all, (list(files),), lambda: files[len(found)], MAX_TEXT):
        if isinstance(message, VideoFacts):
            found.append(message)
    return found


def decoded(file: VideoFile, options: VideoOptions, step: float) -> Iterator[Message]:
    """What :func:`video_decoder.decode` sends; may be left early.

    Raises:
        LawmError: The file cannot be read, has no video, or took the process down; names it.
    """
    largest = MAX_TEXT + 3 * options.size[0] * options.size[1]
    for message in _messages(_decode, (file, options, step), lambda: file, largest):
        if not isinstance(message, Alive | VideoFacts):
            yield message


def _messages(
    work: Callable[..., None],
    args: tuple[object, ...],
    file_at_hand: Callable[[], VideoFile],
    largest: int,
) -> Iterator[Message]:
    pipe, theirs = multiprocessing.Pipe(duplex=False)
    process = start_worker(_serve, work, args, theirs, pipe, os.getpid())
    theirs.close()
    try:
        while True:
            try:
                if not pipe.poll(PATIENCE):
                    why = f"decoding it went on for {PATIENCE:.0f} s without a picture"
                    raise LawmError(f"{file_at_hand().path} cannot be read: {why}. {ADVICE}")
                data = pipe.recv_bytes(largest)
            except EOFError:
                process.join()
                if process.exitcode != 0:
                    why = f"decoding it ended its process ({how_it_ended(process.exitcode)})"
                    raise LawmError(
                        f"{file_at_hand().path} cannot be read: {why}. {ADVICE}"
                    ) from None
                return
            message = from_bytes(data)
            if isinstance(message, Refusal):
                raise LawmError(message.text)
            yield message
    finally:
        process.kill()
        process.join()
        process.close()
        pipe.close()


def _serve(
    work: Callable[..., None],
    args: tuple[object, ...],
    pipe: Connection,
    parents_end: Connection,
    parent: int,
) -> None:
    """What the worker does."""
    code = 1
    try:
        if settle_in(parent):
            parents_end.close()  # else a parent that is gone goes unnoticed
            _limit_memory()
            _silence()
            _work(work, args, pipe)
            code = 0
    finally:
        os._exit(code)  # what the parent registered for its own end is not the worker's to run


def _work(work: Callable[..., None], args: tuple[object, ...], pipe: Connection) -> None:
    def send(message: Message) -> None:
        pipe.send_bytes(to_bytes(message))

    try:
        work(*args, send)
    except LawmError as error:
        send(Refusal(str(error)))
    except BrokenPipeError:  # the parent has seen enough
        pass


def _probe_all(files: Sequence[VideoFile], send: Callable[[Message], None]) -> None:
    for file in files:
        _named(file, lambda file=file: video_decoder.probe(file, send))  # type: ignore[misc]


def _decode(
    file: VideoFile, options: VideoOptions, step: float, send: Callable[[Message], None]
) -> None:
    _named(file, lambda: video_decoder.decode(file, options, step, send))


def _named(file: VideoFile, work: Callable[[], None]) -> None:
    """What libraries raise about a file, with its name."""
    try:
        work()
    except BrokenPipeError:
        raise
    except LawmError as error:
        text = str(error)
        raise LawmError(text if str(file.path) in text else f"{file.path}: {text}.") from error
    except MemoryError as error:
        raise LawmError(
            f"{file.path} cannot be decoded within {MEMORY >> 30} GiB of memory. {ADVICE}"
        ) from error
    except Exception as error:  # PyAV raises anything for what a file holds
        raise LawmError(
            f"{file.path} cannot be decoded: {type(error).__name__}: {error}. {ADVICE}"
        ) from error


def _limit_memory() -> None:
    """At most :data:`MEMORY` beyond what the parent had mapped already."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm") as file:  # noqa: PTH123 (no path of the user's)
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = mapped + MEMORY if most == resource.RLIM_INFINITY else min(mapped + MEMORY, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def _silence() -> None:
    """Libraries must not write into the user's terminal: what matters is sent."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)


__all__ = ["decoded", "need_extra", "probe_videos"]
