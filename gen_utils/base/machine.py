"""Where a number comes from: the machine, the commit, the day."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from pathlib import Path

from .places import ROOT


def machine() -> dict[str, object]:
    """What a reader must know of the machine to understand a time."""
    import torch

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        name = models[0] if models else name
    found = {"cpu": name, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def busy_machine() -> dict[str, object]:
    """The machine and its load at this moment, near 0 when it is idle: for what measures times."""
    return {**machine(), "load_before": round(os.getloadavg()[0], 1)} if hasattr(os, "getloadavg") else machine()


def commit() -> str | None:
    """The short hash of the commit that is checked out, or None outside a repository."""
    try:
        command = ["git", "rev-parse", "--short", "HEAD"]
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    except OSError:  # no git on this machine
        return None
    return answer.stdout.strip() or None


def provenance() -> dict[str, object]:
    """Date, commit and machine, as cards and results keep them."""
    return {"date": date.today().isoformat(), "commit": commit(), "machine": machine()}
