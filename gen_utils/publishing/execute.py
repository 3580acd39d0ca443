"""Running one notebook headless: with papermill, or as the plain Python it is."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..base.files import plain_write_errors
from ..base.machine import provenance
from ..base.places import NOTEBOOKS
from ..kept_runs import LONG
from ..profiles import checked
from .identity import depends_on, fingerprint


def execute(
    part: str, *, profile: str, data_root: str, seed: int, out: Path, force: bool = False, ship: bool = False
) -> tuple[Path, bool]:
    """Run one notebook with papermill; returns the executed .ipynb and whether it had to run.

    The file appears whole or not at all. A notebook that is up to date (see ``identity``) is left alone. One that
    fails is kept as ``NAME.failed.ipynb``, with its error in place.

    Raises:
        ValueError: an unknown profile.
        PapermillExecutionError: a cell failed.
        CannotWrite: the disk is full or read-only; a notebook executed before is still there.
    """
    checked(profile)
    out = Path(out).resolve()  # papermill changes the folder of this process
    with plain_write_errors(out / f"{part}.ipynb"):
        return _execute(part, profile, data_root, seed, out, force, ship)


def up_to_date(part: str, *, profile: str, data_root: str, seed: int, out: Path) -> Path | None:
    """The executed .ipynb, if there is one that ``execute`` would leave alone."""
    target = out / f"{part}.ipynb"
    return (
        target if target.exists() and _fingerprint_of(target) == fingerprint(part, profile, data_root, seed) else None
    )


def _fingerprint_of(executed: Path) -> str | None:
    """What an executed notebook was made from; None where there is none, or half of one."""
    try:
        return json.loads(executed.read_text(encoding="utf-8"))["metadata"]["gen_utils"]["fingerprint"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _execute(
    part: str, profile: str, data_root: str, seed: int, out: Path, force: bool, ship: bool
) -> tuple[Path, bool]:
    import jupytext
    import nbformat
    import papermill

    from .kernel import ThisPythonKernel

    out.mkdir(parents=True, exist_ok=True)
    target, key = out / f"{part}.ipynb", fingerprint(part, profile, data_root, seed)
    if not force and _fingerprint_of(target) == key:
        return target, False
    work = out / f".{part}.running.ipynb"
    notebook = jupytext.read(NOTEBOOKS / f"{part}.py")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, work)
    # A backend chosen for this process (Agg, in tests) would reach the kernel, and no figure would be kept.
    os.environ.pop("MPLBACKEND", None)
    parameters = {"profile": profile, "data_root": data_root, "seed": seed}
    if ship:  # only some notebooks have this parameter
        parameters["ship"] = True
    made: dict[str, Any] = {}
    if profile in LONG:  # it may be kept; of a short run nobody asks
        depends = depends_on(part, profile, data_root, seed)
        data = {name: found is not None for name, found in depends["data"].items()}
        made = {"made": provenance(), "made_from": {"data": data, "modules": depends["modules"]}}
    start = time.perf_counter()
    try:
        papermill.execute_notebook(
            work,
            work,
            parameters=parameters,
            cwd=NOTEBOOKS,
            kernel_name="python3",
            kernel_manager_class=ThisPythonKernel,
            start_timeout=300,  # a busy machine takes its time to start a kernel
            progress_bar=False,
            request_save_on_cell_execute=False,  # it would write the whole notebook twice a cell
            # Its errors are in the notebook. What it logs as one is that the interrupt before its end has reached it.
            extra_arguments=["--IPKernelApp.log_level=CRITICAL", *_leave_with_this_process()],
        )
    except papermill.PapermillExecutionError:
        os.replace(work, target.with_suffix(".failed.ipynb"))
        raise
    executed = nbformat.read(work, as_version=4)
    for cell in executed.cells:
        if "injected-parameters" in cell.metadata.get("tags", ()):
            cell.metadata["tags"].append("remove-cell")
    executed.metadata["gen_utils"] = {
        "fingerprint": key,
        "seconds": round(time.perf_counter() - start, 1),
        **parameters,
        **made,
    }
    executed.metadata.pop("papermill", None)  # it holds paths of this machine
    nbformat.write(executed, work)
    os.replace(work, target)
    target.with_suffix(".failed.ipynb").unlink(missing_ok=True)
    return target, True


def _leave_with_this_process() -> list[str]:
    """Arguments for a kernel whose parent may be killed while it starts.

    Later ipykernel notices by itself. Not then: it goes on waiting, for ever where a session manager adopts orphans.
    """
    if os.name != "posix":
        return []
    look = f"try: __import__('os').kill({os.getpid()}, 0)\nexcept ProcessLookupError: __import__('os')._exit(1)"
    return [f"--IPKernelApp.exec_lines={look}"]


def run_as_script(part: str, *, profile: str, data_root: str, seed: int, ship: bool = False) -> dict:
    """Run a notebook as the plain Python it is: for a machine without Jupyter. Returns what ``keep_records`` wants.

    Raises:
        ValueError: an unknown profile.
        RuntimeError: the script failed; its own error has been printed.
    """
    given = {"profile": checked(profile), "data_root": data_root, "seed": seed} | ({"ship": True} if ship else {})
    source = with_parameters((NOTEBOOKS / f"{part}.py").read_text(encoding="utf-8"), given)
    with tempfile.TemporaryDirectory() as folder:
        script, recorded = Path(folder) / f"{part}.py", Path(folder) / "records.json"
        end = (
            "\nimport json\nfrom pathlib import Path\nfrom gen_utils.report import recorded\n"
            f"Path({str(recorded)!r}).write_text(json.dumps(recorded()), encoding='utf-8')\n"
        )
        script.write_text(source + end, encoding="utf-8")
        environment = {**os.environ, "MPLBACKEND": "Agg", "GEN_HEADLESS": "1", "PYTHONUTF8": "1"}
        start = time.perf_counter()
        if subprocess.run([sys.executable, str(script)], cwd=NOTEBOOKS, env=environment).returncode:
            raise RuntimeError(f"{part} stopped with the error above; run the same command again to go on from there")
        found = json.loads(recorded.read_text(encoding="utf-8"))
    seconds = round(time.perf_counter() - start, 1)
    return {"part": part, "profile": profile, "seed": seed, "seconds": seconds, "records": found}


def with_parameters(source: str, given: dict) -> str:
    """A notebook's source with the first value of each parameter replaced; one it does not have is left out."""
    encoded = source.encode()
    lines = [0]
    for line in encoded.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    changes, seen = [], set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, old = node.targets[0].id, node.value
            if name in given and name not in seen:
                seen.add(name)
                assert old.end_lineno is not None and old.end_col_offset is not None  # parsed from a text
                begin, end = lines[old.lineno - 1] + old.col_offset, lines[old.end_lineno - 1] + old.end_col_offset
                changes.append((begin, end, repr(given[name]).encode()))
    for begin, end, text in reversed(changes):
        encoded = encoded[:begin] + text + encoded[end:]
    return encoded.decode()
