"""What "Copy as Python" copies is run: a few steps of it."""

import re

import pytest

from gen_utils.base.places import BOOK
from gen_utils.publishing.benches import places

from .node import run

SHIM = "Object.assign(BENCHES, {kinds: {}, define: (name, kind) => (BENCHES.kinds[name] = kind)});\n"


@pytest.mark.parametrize("bench", places.every(), ids=lambda bench: bench.name)
def test_the_same_call_in_python_runs(bench, tmp_path, capsys):
    source = "".join(
        (BOOK / "_static" / "benches" / f"{name}.js").read_text(encoding="utf-8")
        for name in ("plane", "mixture", bench.name)
    )
    program = SHIM + source + f"\nconst kind = BENCHES.kinds[{bench.name!r}];\nanswer(kind.python(kind.state));"
    code = run(program, tmp_path)
    exec(compile(re.sub(r"\b(256|4096|2000|5000|6000)\b", "8", code), bench.name, "exec"), {})
    assert capsys.readouterr().out.strip()
