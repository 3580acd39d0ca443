# The first cell of a notebook that is opened alone, on a hosted service: it fetches the workbook and what is missing.
# The press copies this text into the students' notebooks (hosted.py), so it needs nothing but Python itself.
import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

# Of requirements.txt, what a notebook and its checks use; the rest is for the book and for tests.
NEEDED = (
    *("torch", "torchvision", "lightning", "tensorboard", "torchmetrics", "safetensors", "numpy", "scipy", "pillow"),
    *("scikit-learn", "joblib", "arviz-stats", "ipywidgets", "matplotlib", "tqdm", "typer", "jupytext"),
)
IMPORTED_AS = {"pillow": "PIL", "scikit-learn": "sklearn"}


def fetch(archive: str, home: Path) -> None:
    """Unpack a release beside the notebook; a download that stops half-way leaves no folder behind."""
    address = Path(archive).resolve().as_uri() if Path(archive).exists() else archive
    part, unpacked = home.with_name("workbook.zip.partial"), home.with_name("workbook.partial")
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        with urllib.request.urlopen(address) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target)
        with zipfile.ZipFile(part) as packed:
            packed.extractall(unpacked)
        (inner,) = (place.parent for place in [*unpacked.glob("gen_utils"), *unpacked.glob("*/gen_utils")])
        inner.rename(home)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise RuntimeError(f"The workbook could not be fetched from {archive}: {error}") from None
    finally:
        part.unlink(missing_ok=True)
        shutil.rmtree(unpacked, ignore_errors=True)


def missing(home: Path) -> dict[str, str]:
    """Package -> what requirements.txt asks for, of those that are not here or are too old."""
    found = {}
    for line in (home / "requirements.txt").read_text(encoding="utf-8").splitlines():
        asked = re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line)
        if asked and asked[1] in NEEDED:
            try:
                here = importlib.metadata.version(asked[1])
            except importlib.metadata.PackageNotFoundError:
                here = ""
            if numbers(here) < numbers(asked[2]):
                found[asked[1]] = asked[0]
    return found


def numbers(version: str) -> list[int]:
    """[2, 11, 0] of "2.11.0+cu128": 2.11 is newer than 2.9."""
    return [int(part) for part in re.findall(r"\d+", version.split("+")[0])]


def install(home: Path, wanted: dict[str, str]) -> None:
    """Install packages in the versions that are tested; the others stay as the service has them."""
    tested = (home / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = home / "constraints.of-missing.txt"
    pinned.write_text("\n".join(line for line in tested if line.split("==")[0] in wanted) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--quiet", *wanted.values(), "-c", str(pinned)]
    answer = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if answer.returncode:
        told = (answer.stderr.strip() or answer.stdout.strip() or "it said nothing").splitlines()[-1]
        raise RuntimeError(f"pip could not install {', '.join(wanted)}: {told}")
    importlib.invalidate_caches()


def set_up(archive: str) -> None:
    """Make this folder one in which the notebook runs; nothing to do inside the workbook's folder."""
    here = Path.cwd()
    if any((place / "gen_utils").is_dir() for place in (here, *here.parents)):
        return
    began, home = time.monotonic(), here / "workbook"
    if not home.is_dir():
        print("Fetching the workbook: under a minute on most networks.", flush=True)
        fetch(os.environ.get("GEN_RELEASE") or archive, home)
    if wanted := missing(home):
        long = "ten minutes or more, since PyTorch is among them" if "torch" in wanted else "one to three minutes"
        print(f"Installing {', '.join(wanted)}: {long} (an estimate).", flush=True)
        old = [name for name in wanted if IMPORTED_AS.get(name, name.replace("-", "_")) in sys.modules]
        install(home, wanted)
        if old:
            raise RuntimeError(f"Restart the kernel and run this cell again: {', '.join(old)} was loaded before.")
    os.chdir(home)
    print(f"Ready after {time.monotonic() - began:.0f} s; what you train is kept in {home}.")
