"""How soon are samples good? The original recipes and ours, on one machine, one after the other.

    python benchmarks/time_to_quality.py            # an hour; writes results/time_to_quality.json
    python benchmarks/time_to_quality.py jem        # one contest only; the others' results stay

Contests (``contests.py``): ``mnist`` (Part B), ``bitmoji`` (Part A), ``jem`` (Part D). Within one, data and judge are
the same. The clock runs while a model trains, and stands while its samples are measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import gen_utils  # noqa: E402, F401, I001

from contests import CONTESTS  # noqa: E402

from gen_utils.base.machine import provenance  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contests", nargs="*", default=list(CONTESTS), help=f"of {', '.join(CONTESTS)}; all when none")
    parser.add_argument("--data", help="where datasets live; else $GEN_DATA_ROOT, else ./data")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies all times: 0.01 for a try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "time_to_quality.json")
    args = parser.parse_args()
    unknown = set(args.contests) - set(CONTESTS)
    if unknown:
        parser.error(f"no contest is called {', '.join(sorted(unknown))}; there are {', '.join(CONTESTS)}")
    for name in args.contests:
        contest = CONTESTS[name](args.data, args.samples, args.seed)
        curves = {}
        for contender in contest.contenders:
            print(f"{contest.title}: {contender.name}", flush=True)
            looks = [args.scale * seconds for seconds in contender.looks]
            curves[contender.name] = contender.run(looks, looks[-1])
        found = {
            **provenance(), "title": contest.title, "judge": contest.judge, "told": contest.told, "seed": args.seed,
            "scale": args.scale, "goal": contest.goal, "curves": curves,
        }  # fmt: skip
        kept = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({**kept, name: found}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
