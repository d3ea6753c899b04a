from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from lawm.errors import LawmError
from lawm.run_lock import RunLock

HOLDER = """
import sys
from pathlib import Path
from lawm.run_lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


@pytest.fixture
def other_process(path):
    """Another process that holds the lock until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.stdin.close()


def test_a_folder_in_use_is_refused_and_its_user_named(path, other_process):
    before = path.read_text()
    with pytest.raises(LawmError, match=rf"in use by process {other_process.pid} on .* \(since"):
        RunLock(path).__enter__()
    assert path.read_text() == before


def test_a_killed_owner_leaves_no_lock(path, other_process, caplog):
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    with RunLock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert caplog.text == ""  # of this machine, so the kernel knows that it is dead


def test_the_owner_signs_off(path):
    with RunLock(path):
        pass
    assert path.read_text() == ""
    with RunLock(path):
        pass


def test_an_owner_on_another_machine_that_did_not_sign_off_is_named(path, caplog):
    path.write_text(json.dumps({"host": "node17", "pid": 7, "since": "2026-01-31"}))
    with RunLock(path):
        pass
    assert "last trained by process 7 on node17" in caplog.text


@pytest.mark.parametrize("text", ["", "[]", "{", '{"host": 1}'])
def test_a_damaged_file_locks_all_the_same(text, path):
    path.write_text(text)
    with RunLock(path):
        pass


def test_a_file_system_without_locks_is_told(path, monkeypatch, caplog):
    def refuse(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with RunLock(path):
        pass
    assert "without locks (No locks available): make sure that no other run" in caplog.text


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(LawmError, match="cannot be written"):
        RunLock(tmp_path / "missing" / ".lock").__enter__()
