"""The shared package of the workbook: samplers, models, data, training and evaluation."""

import os

# Threads that have nothing to do should sleep, not spin. On two cores, spinning makes two busy programs slow each
# other down many times over (measured: a 20-step chain took 4.5 s instead of 0.09 s beside another training run).
# Read once, when torch is first imported, so gen_utils comes before torch in every notebook.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
