"""Running the notebooks headless and building the book from what they produced."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .checkpoints import write_atomically
from .disk import plainly
from .profiles import PROFILES
from .provenance import provenance
from .report import records

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
RESULTS = ROOT / "results"
BUILD = ROOT / "_build"
SHIPPED_BY = {  # trained model -> the notebook that trains it
    "ebm_mnist": "02_ebm_mnist",
    "ebm_bitmoji": "03_ebm_bitmoji",
    "ebm_digits_conditional": "04_ebm_cifar_conditional",
    "ebm_cifar": "04_ebm_cifar_conditional",
    "jem_mnist": "05_jem",
    "vqvae_mnist": "06_dvae_clustering",
    "vqvae_fashion_mnist": "06_dvae_clustering",
    "token_prior_mnist": "06_dvae_clustering",
    "token_prior_fashion_mnist": "06_dvae_clustering",
    "gan_persian_digits": "07_gan_wgan",
    "dcgan_bitmoji": "08_dcgan_bitmoji",
    "vae_celeba": "09_vae_likelihood",
    "vaebm_mnist": "10_vaebm",
    "vaebm_faces": "10_vaebm",
}


# Jupyter Book always writes these, twice, for a service on another host that this book does not use.
_THEBE = re.compile(
    r"""\s*<script>const THEBE_JS_URL.*?</script>|\s*<script[^>]*sphinx-thebe\.js[^>]*></script>"""
    r"""|\s*<link[^>]*sphinx-thebe\.css[^>]*>|\s*<script type="text/x-thebe-config">.*?</script>""",
    re.S,
)


def parts() -> list[str]:
    """The notebooks, in the order of the course."""
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.py"))


def find_part(part: str) -> str:
    """The notebook a user means by '02', 'ebm_mnist' or '02_ebm_mnist'."""
    found = [name for name in parts() if part in (name, name.split("_")[0], name.split("_", 1)[1])]
    if len(found) != 1:
        raise ValueError(f"unknown part {part!r}; known: {', '.join(parts())}")
    return found[0]


def fingerprint(part: str, profile: str, data_root: str, seed: int) -> str:
    """Changes when anything changes that the executed notebook depends on."""
    digest = hashlib.sha256(f"{profile} {data_root} {seed}".encode())
    sources = [NOTEBOOKS / f"{part}.py", *sorted((ROOT / "gen_utils").rglob("*.py"))]
    # Cards carry the hash of their weights; results of other runs are shown beside this one's.
    sources += sorted((ROOT / "checkpoints").glob("*.json")) + sorted(RESULTS.glob(f"{part}.*.json"))
    for path in sources:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def execute(
    part: str, *, profile: str, data_root: str, seed: int, out: Path, force: bool = False, ship: bool = False
) -> tuple[Path, bool]:
    """Run one notebook with papermill; returns the executed .ipynb and whether it had to run.

    The file appears whole or not at all. A notebook that is up to date is left alone. One that
    fails is kept as ``NAME.failed.ipynb``, with its error in place.

    Raises:
        ValueError: an unknown profile.
        PapermillExecutionError: a cell failed.
        CannotWrite: the disk is full or read-only; a notebook executed before is still there.
    """
    with plainly(out / f"{part}.ipynb"):
        return _execute(part, profile, data_root, seed, out, force, ship)


def _execute(
    part: str, profile: str, data_root: str, seed: int, out: Path, force: bool, ship: bool
) -> tuple[Path, bool]:
    import jupytext
    import nbformat
    import papermill

    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; known: {', '.join(PROFILES)}")
    out.mkdir(parents=True, exist_ok=True)
    target, key = out / f"{part}.ipynb", fingerprint(part, profile, data_root, seed)
    if target.exists() and not force:
        try:
            if json.loads(target.read_text())["metadata"].get("gen_utils", {}).get("fingerprint") == key:
                return target, False
        except (ValueError, KeyError):  # not a whole notebook: make it anew
            pass
    work = out / f".{part}.running.ipynb"
    notebook = jupytext.read(NOTEBOOKS / f"{part}.py")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, work)
    # A backend chosen for this process (Agg, in tests) would reach the kernel, and no figure would be kept.
    os.environ.pop("MPLBACKEND", None)
    parameters = {"profile": profile, "data_root": data_root, "seed": seed}
    if ship:  # only some notebooks have this parameter
        parameters["ship"] = True
    start = time.perf_counter()
    try:
        papermill.execute_notebook(
            work,
            work,
            parameters=parameters,
            cwd=NOTEBOOKS,
            kernel_name="python3",
            start_timeout=300,  # a busy machine takes its time to start a kernel
            progress_bar=False,
            extra_arguments=["--IPKernelApp.log_level=ERROR", *_leave_with_this_process()],
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
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; known: {', '.join(PROFILES)}")
    source = (NOTEBOOKS / f"{part}.py").read_text(encoding="utf-8")
    head, mark, rest = source.partition('# %% tags=["parameters"]\n')
    defaults, next_cell, rest = rest.partition("\n# %%")
    given = {"profile": profile, "data_root": data_root, "seed": seed} | ({"ship": True} if ship else {})
    lines = "".join(f"{name} = {value!r}\n" for name, value in given.items() if f"\n{name} = " in f"\n{defaults}")
    with tempfile.TemporaryDirectory() as folder:
        script, told = Path(folder) / f"{part}.py", Path(folder) / "records.json"
        end = (
            "\nimport json\nfrom pathlib import Path\nfrom gen_utils.report import recorded\n"
            f"Path({str(told)!r}).write_text(json.dumps(recorded()))\n"
        )
        script.write_text(head + mark + defaults + "\n" + lines + next_cell + rest + end, encoding="utf-8")
        environment = {**os.environ, "MPLBACKEND": "Agg", "GEN_HEADLESS": "1"}
        start = time.perf_counter()
        if subprocess.run([sys.executable, str(script)], cwd=NOTEBOOKS, env=environment).returncode:
            raise RuntimeError(f"{part} stopped with the error above; run the same command again to go on from there")
        found = json.loads(told.read_text())
    seconds = round(time.perf_counter() - start, 1)
    return {"part": part, "profile": profile, "seed": seed, "seconds": seconds, "records": found}


def keep_results(executed: Path) -> Path:
    """Write what an executed notebook recorded to ``results/PART.PROFILE.json``."""
    notebook = json.loads(executed.read_text())
    run = notebook["metadata"]["gen_utils"]
    kept = {name: run[name] for name in ("profile", "seed", "seconds")}
    return keep_records({"part": executed.stem, **kept, "records": records(notebook)})


def keep_records(run: dict) -> Path:
    """Write a run's records to ``results/PART.PROFILE.json``, with the day, the commit and the machine."""
    told = {name: value for name, value in run["records"].items() if not name.startswith("check/")}
    result = {**{name: run[name] for name in ("part", "profile", "seed", "seconds")}, **provenance(), "records": told}
    path = RESULTS / f"{run['part']}.{run['profile']}.json"
    RESULTS.mkdir(exist_ok=True)
    write_atomically(path, (json.dumps(result, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def kept_results(part: str) -> dict | None:
    """The best profile's kept results of a part (full, else laptop), or None."""
    for profile in ("full", "laptop"):
        path = RESULTS / f"{part}.{profile}.json"
        if path.exists():
            return json.loads(path.read_text())
    return None


def build_book(executed: dict[str, Path], *, profile: str, data_root: str, out: Path | None = None) -> Path:
    """Build the HTML from executed notebooks (part -> file); returns the page to open.

    Each profile has its own stage under ``_build/PROFILE``, so building one never undoes another. The notebooks are
    expected in ``notebooks/`` there.
    """
    from .book_pages import fill
    from .gallery import write_page  # brings matplotlib: only for this

    stage = (out or BUILD) / profile
    for name in ("_config.yml", "_toc.yml"):
        _copy_if_changed(ROOT / name, stage / name)
    for path in sorted((ROOT / "book").rglob("*")):
        if path.suffix == ".md" and path.name != "datasets.md":
            _write_if_changed(fill(path.read_text(encoding="utf-8"), executed).encode(), stage / path.relative_to(ROOT))
        elif path.is_file() and path.name != "datasets.md":
            _copy_if_changed(path, stage / path.relative_to(ROOT))
    for path in sorted((ROOT / "checkpoints").glob("*.png")):
        _copy_if_changed(path, stage / "book" / "_static" / "models" / path.name)
    write_page(ROOT / "book" / "datasets.md", stage / "book", Path(data_root))
    jupyter_book = "from jupyter_book.cli.main import main; main()"  # it has no __main__
    command = [sys.executable, "-c", jupyter_book, "build", str(stage), "-W", "-n", "--keep-going", "-q"]
    answer = subprocess.run(command, cwd=stage, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"the book did not build cleanly:\n{answer.stdout[-4000:]}\n{answer.stderr[-4000:]}")
    html = (out or BUILD) / "html"
    shutil.copytree(stage / "_build" / "html", html, dirs_exist_ok=True)
    for page in html.rglob("*.html"):
        _write_if_changed(_THEBE.sub("", page.read_text(encoding="utf-8")).encode(), page)
    return html / "index.html"


def _copy_if_changed(source: Path, target: Path) -> None:
    _write_if_changed(source.read_bytes(), target)


def _write_if_changed(data: bytes, target: Path) -> None:
    """Leaves equal files alone, so that Sphinx rebuilds only the pages that changed."""
    if not target.exists() or data != target.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
