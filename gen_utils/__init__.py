"""The shared package of the workbook: samplers, models, data, training and evaluation."""

import os

from .base.frontend import forgive_output as _forgive_output

# A waiting thread spins for a moment and then sleeps. OpenMP's default spins for milliseconds, and two busy programs
# on two cores then slow each other down many times over (measured: a 20-step chain took 4.5 s beside another training
# run, 0.25 s with this setting, 0.07 s alone). Read once, when torch is first imported: import gen_utils before torch.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_forgive_output()  # before anything is printed, by the command line, a benchmark or a notebook run as a script

__version__ = "0.1.0"
