"""Signals: noted, answered at once, and the second one obeyed."""

from __future__ import annotations

import hashlib
import os
import signal
import threading

import pytest

from tfcli.train.interrupts import Interrupts


def test_the_answer_comes_while_one_long_instruction_runs():
    """As a backward pass does: Python runs no handler before it is over."""
    heard, over = threading.Event(), threading.Event()
    in_time = []

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        heard.wait()
        in_time.append(not over.is_set())

    with Interrupts(heard.set) as interrupts:
        sender = threading.Thread(target=interrupt)
        sender.start()
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2_000_000)
        over.set()
        sender.join()
    assert in_time == [True]
    assert interrupts.asked


def test_the_second_signal_interrupts_and_afterwards_handlers_are_as_before():
    before, answers = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), Interrupts(lambda: answers.append(1)):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert answers == [1]
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_another_sigterm_changes_nothing():
    """torchrun sends one, and what manages the machine sends one to all processes."""
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert interrupts.asked


def test_other_signals_are_not_answered():
    old = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    answers = []
    with Interrupts(lambda: answers.append(1)) as interrupts:
        signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, old)
    assert (answers, interrupts.asked) == ([], False)
