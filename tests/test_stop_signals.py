from __future__ import annotations

import os
import signal
import threading

import pytest

from lawm.stop_signals import STOP_SIGNALS, StopRun, StopSignals


@pytest.fixture(autouse=True)
def _default_handlers():
    """A shell starts background jobs with SIGINT ignored; the tests must not depend on that."""
    before = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_DFL)
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)]
)
def test_a_signal_ends_the_run_with_its_code(signum, code):
    with StopSignals(), pytest.raises(StopRun, match=signum.name) as caught:
        signal.raise_signal(signum)
    assert caught.value.exit_code == code


def test_a_deferred_signal_is_noted(capsys):
    with StopSignals() as stop:
        stop.is_deferred = True
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested == signal.SIGTERM
    assert "SIGTERM: stopping after this step" in capsys.readouterr().err


def test_a_scheduler_s_second_signal_does_not_break_the_save_off():
    with StopSignals() as stop:
        stop.is_deferred = True
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested == signal.SIGUSR1


def test_the_handlers_are_given_back():
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert {signal.getsignal(signum) for signum in STOP_SIGNALS} == {signal.SIG_DFL}


def test_what_the_process_ignores_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nohup, or a background job
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested is None


def test_another_thread_leaves_the_handlers_alone():
    def enter():
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGTERM))

    seen = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -15)])
def test_a_forked_process_outlives_an_interrupt_and_nothing_else(signum, status):
    """Ctrl-C reaches the processes that load data, which the running step needs."""
    with StopSignals():
        child = os.fork()
        if child == 0:
            try:
                signal.raise_signal(signum)
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status
