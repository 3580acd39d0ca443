"""What every check has from the core: a time limit, output on any code page, and no traces left behind."""

import _thread
import functools
import io
import random
import signal
import sys
import threading
import time

import numpy as np
import pytest
import torch

from gen_utils.checks import core, patience
from gen_utils.checks.compare import compare
from gen_utils.checks.core import attempt, check, told


def identity(student):
    return compare("identity", student, lambda x: x, [(torch.ones(2),)])


def busy(x):
    while True:
        try:  # noqa: SIM105 (the net that a student writes)
            x = x + 1
        except:  # noqa: E722
            pass


def test_an_answer_that_swallows_everything_is_told_to_stop_until_it_does(monkeypatch, capsys):
    monkeypatch.setattr(core, "PATIENCE", 0.1)
    monkeypatch.setattr(patience, "GRACE", 120.0)
    running = threading.active_count()
    result = identity(busy)
    assert not result and "still running after 0 s" in result.message and "restart" not in result.message
    assert threading.active_count() == running


def test_an_answer_that_never_stops_is_left_behind(monkeypatch, capsys):
    monkeypatch.setattr(core, "PATIENCE", 0.1)
    monkeypatch.setattr(patience, "GRACE", 0.1)
    free = threading.Event()

    def asleep(x):
        while not free.is_set():
            try:  # noqa: SIM105
                time.sleep(0.02)
            except:  # noqa: E722
                pass

    try:
        result = identity(asleep)
        assert not result and "could not be stopped: restart the kernel" in result.message
    finally:
        free.set()


def test_the_time_limit_holds_beside_the_main_thread(monkeypatch, capsys):
    monkeypatch.setattr(core, "PATIENCE", 0.1)
    found = []
    thread = threading.Thread(target=lambda: found.append(identity(busy)))
    thread.start()
    thread.join(120)
    assert "still running" in found[0].message


def test_who_interrupts_the_kernel_is_heard_and_the_answer_ends(capsys):
    running = threading.active_count()

    def interrupted(x):
        _thread.interrupt_main()
        busy(x)

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # what a shell leaves in the background hears none
    try:
        with pytest.raises(KeyboardInterrupt):
            identity(interrupted)
    finally:
        signal.signal(signal.SIGINT, before)
    assert threading.active_count() == running  # not left behind
    assert capsys.readouterr().out == ""


def raising(error):
    def student(*args):
        raise error

    return student


@pytest.mark.parametrize(
    ("student", "said"),
    [
        (raising(ValueError()), "your function raised ValueError in line "),
        (raising(ValueError("first\nsecond")), "your function raised ValueError: first in line "),
        (raising(KeyboardInterrupt()), "your function raised KeyboardInterrupt"),
        (lambda *args: sys.exit(), "your function ends the program"),
        (torch.nn.Module(), 'NotImplementedError: Module [Module] is missing the required "forward" function'),
        (functools.partial(raising(NotImplementedError())), "not written yet. Replace the last line of student"),
        (torch.zeros(2), "give the check your function itself: toy, without arguments"),
    ],
)
def test_what_was_raised_is_one_sentence(student, said, capsys):
    _, failure = attempt("toy", student, 1.0)
    assert said in failure.message and failure.message.endswith(".") and "\n" not in failure.message
    assert capsys.readouterr().out == f"✗ toy: {failure.message}\n"


def test_a_stub_that_is_called_is_the_one_that_is_named(capsys):
    def earlier():
        raise NotImplementedError

    _, failure = attempt("toy", lambda: earlier() + 1)
    assert failure.message.startswith("not written yet. Replace the last line of earlier,")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437", "utf-8"])
def test_a_message_can_be_printed_on_every_code_page(encoding, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, newline="\n"))
    result = told("step", True, "x − η ∇E, \udcff and 图.")
    sys.stdout.flush()
    printed = raw.getvalue().decode(encoding)
    assert result and printed.endswith("\n") and " step: x " in printed
    wrong = raw.tell()
    told("step", False, "no.")
    sys.stdout.flush()
    assert raw.getvalue()[wrong:].decode(encoding)[:6] != printed[:6]  # passed and failed look different


def test_a_result_that_breaks_the_check_is_told():
    @check
    def toy(student):
        return compare("toy", student, lambda: torch.zeros(()), [()])

    result = toy(lambda: 10**400)
    assert not result and result.message.startswith("your result is of a kind that cannot be compared (")
    assert toy(lambda: 0)


@pytest.mark.parametrize(
    ("change", "slip"),
    [
        (lambda: torch.manual_seed(0), "random state"),
        (lambda: random.seed(0), "random state"),
        (lambda: np.random.seed(0), "random state"),  # noqa: NPY002
        (lambda: torch.rand(1), "random state"),
        (lambda: torch.set_default_dtype(torch.float64), "global state"),
        (lambda: torch.set_grad_enabled(False), "global state"),
    ],
)
def test_what_an_answer_changes_besides_is_told_and_undone(change, slip):
    @check
    def toy(student):
        return compare("toy", student, lambda: torch.zeros(()), [()])

    def student():
        change()
        return torch.zeros(())

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    result = toy(student)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert not result and result.slip == slip
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
