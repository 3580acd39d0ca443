"""The trained models of a part, one a line.

python .github/scripts/models_of.py 02_ebm_mnist
"""

import json
import sys
from pathlib import Path

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"

if __name__ == "__main__":
    for path in sorted(CHECKPOINTS.glob("*.json")):
        if json.loads(path.read_text(encoding="utf-8"))["part"] == sys.argv[1]:
            print(path.stem)
