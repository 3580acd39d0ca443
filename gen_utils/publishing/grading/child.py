"""What runs in a process that is shut in: a student's exercises, one after the other, each under its check."""

from __future__ import annotations

import builtins
import importlib
import linecache
import os
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

import torch

from ...checks import core
from ...checks.cases import hidden_cases
from .integrity import Integrity, watched
from .isolation import leave_group, shut_in, silence
from .sealed import seal

CELL = "<your cell>"


def work(task: Mapping, out: Connection, key: bytes) -> None:
    """Run a task's exercises: for each, a message that it begins, and one with what its check said."""
    leave_group()
    silence(out.fileno())
    checks = importlib.import_module(task["checks"])
    torch.set_num_threads(1)
    core.PATIENCE = task["seconds"] / 3  # so that an endless loop is told by the check itself, in its own words
    integrity = Integrity([task["checks"]])
    shut_in(Path(task["folder"]), task["memory"], task["seconds"] * (len(task["exercises"]) + 1))

    def send(message: Mapping) -> None:
        out.send_bytes(seal(key, message))

    for exercise in task["exercises"]:
        send({"begins": exercise["name"]})
        send(
            {
                "answer": best(
                    [_tried(exercise, answer, exercise["keys"], checks, integrity) for answer in exercise["answers"]]
                )
            }
        )
        if not integrity.quiet() or integrity.broken():
            break  # what this one has left behind must not reach the next; that gets a process of its own
    out.close()
    os._exit(0)  # no thread of a student's is waited for


def best(answers: list[dict]) -> dict:
    """Of several answers to one exercise, copies for instance, the one that is worth most."""
    return max(answers, key=lambda a: (a["status"] == "passed", a["status"] == "shown only", a["status"] == "slip"))


def _tried(exercise: Mapping, answer: Mapping, keys: list[int], checks: ModuleType, integrity: Integrity) -> dict:
    """What a check says of one answer, on the cases that students see and on those of the keys."""
    start, found = time.perf_counter(), []
    spaces = {"__name__": "hand_in", "__builtins__": builtins}
    failure = None
    for text in answer["needs"]:  # what the last one needs may fail: that one, or its check, then says what is missing
        try:
            exec(compile(text, CELL, "exec"), spaces)
            failure = None
        except BaseException as error:
            failure = error
    if failure is not None:
        return _said("wrong", f"your cell does not run: {type(failure).__name__}: {_line(failure)}", start)
    linecache.cache[CELL] = (0, None, answer["needs"][-1].splitlines(keepends=True), CELL)
    spaces["checks"] = checks
    for name in exercise["wants"]:
        if callable(spaces.get(name)):
            spaces[name] = watched(spaces[name], integrity, found)
    ask = eval(compile(f"lambda: {exercise['call']}", "<check>", "eval"), spaces)
    if (changed := integrity.broken()) is not None:
        return _said("held", f"the cell changes {changed}", start)
    shown = _asked(ask, found)
    if shown["status"] != "passed" or not keys:
        return {**shown, "seconds": round(time.perf_counter() - start, 2)}
    hidden = []
    for key in keys:
        torch.set_default_dtype(torch.float64 if key & 2 else torch.float32)  # the type that cases are drawn in
        with hidden_cases(key):
            hidden.append(_asked(ask, found)["status"])
    torch.set_default_dtype(torch.float32)
    if "held" in hidden:
        shown = {"status": "held", "message": f"the function changes {found[0]}", "slip": None}
    elif hidden.count("passed") < len(hidden):
        shown["status"] = "shown only"
    rounds = [status == "passed" for status in hidden]
    return {
        **shown,
        "hidden": [sum(rounds), len(rounds)],
        "rounds": rounds,
        "seconds": round(time.perf_counter() - start, 2),
    }


def _asked(ask: Callable[[], object], found: list[str]) -> dict:
    try:
        result = ask()
    except BaseException as error:
        return {
            "status": "wrong",
            "message": f"the check stopped: {type(error).__name__}: {_line(error)}",
            "slip": None,
        }
    if found:
        return {"status": "held", "message": f"the function changes {found[0]}", "slip": None}
    if type(result) is not core.Result:
        return {"status": "wrong", "message": "the check has not answered", "slip": None}
    status = "passed" if result.passed else "slip" if result.slip else "wrong" if result.tried else "not written"
    return {"status": status, "message": result.message, "slip": result.slip}


def _said(status: str, message: str, start: float) -> dict:
    return {"status": status, "message": message, "slip": None, "seconds": round(time.perf_counter() - start, 2)}


def _line(error: BaseException) -> str:
    return str(error).split("\n")[0][:200]
