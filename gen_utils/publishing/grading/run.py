"""The engine as a process of its own, inside bubblewrap where that is: tasks go in, what the checks said comes out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ...base.places import ROOT
from .isolation import outer_shell, sentence

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run(
    tasks: list[dict],
    controls: list[dict],
    on_answer: Callable[[dict], object],
    *,
    jobs: int,
    seconds: float,
    memory: int,
) -> tuple[str, list[str]]:
    """Run the tasks.

    Args:
        tasks: student, part, checks (their module), and exercises: name, call, wants (names), answers, keys.
        controls: the same, with the workbook's own answers.
        on_answer: called with student, part, exercise and what the check said, for each exercise once.

    Returns:
        What is isolated, and part/exercise of those whose own answer does not pass.

    Raises:
        RuntimeError: the engine ended early.
    """
    left, isolated, unsound = sum(len(task["exercises"]) for task in tasks), "", []
    with tempfile.TemporaryDirectory() as work, tempfile.NamedTemporaryFile() as outside:
        shell = outer_shell(Path(work))
        asked = {
            **dict(jobs=jobs, seconds=seconds, memory=memory, outside=outside.name, tasks=tasks, controls=controls),
            "modules": sorted({task["checks"] for task in controls}),
        }
        environment = {
            **os.environ,
            **dict.fromkeys(THREADS, "1"),
            **dict(MPLBACKEND="Agg", GEN_HEADLESS="1", PYTHONUTF8="1", PYTHONDONTWRITEBYTECODE="1"),
            **dict(TMPDIR=work, HOME=work),
        }
        command = [*shell, sys.executable, "-m", "gen_utils.publishing.grading.engine"]
        with _started(command, environment) as engine:
            assert engine.stdin is not None and engine.stdout is not None  # both are pipes
            try:
                engine.stdin.write(json.dumps(asked) + "\n")
                engine.stdin.close()
                for line in engine.stdout:
                    message = json.loads(line)
                    if "open" in message:
                        isolated = sentence(message["open"]) + (" All of it ran in bubblewrap." if shell else "")
                    elif "unsound" in message:
                        unsound.append(message["unsound"])
                    else:
                        left -= 1
                        on_answer(message)
            except BrokenPipeError:
                pass  # it has said why
            finally:
                engine.terminate()
    if left or not isolated:
        raise RuntimeError("the processes that run the exercises ended early; the lines above say why")
    return isolated, unsound


def _started(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, encoding="utf-8")
