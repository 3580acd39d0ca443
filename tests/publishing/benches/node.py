"""The benches' JavaScript in Node: a program that has their parts, and what it prints as JSON."""

import json
import shutil
import subprocess

import pytest

from gen_utils.base.places import BOOK

NODE = shutil.which("node")
FOLDER = BOOK / "_static" / "benches"
PROLOGUE = """\
const vm = require("vm"), fs = require("fs");
for (const name of %s) vm.runInThisContext(fs.readFileSync(%s + "/" + name, "utf-8"), name);
BENCHES.networks = {};
const ops = BENCHES.ops(), {build, numbers, unpacked} = BENCHES.network(ops), chains = BENCHES.chains();
const given = JSON.parse(fs.readFileSync("given.json", "utf-8"));
const answer = (value) => process.stdout.write(JSON.stringify(value, (_, v) => ArrayBuffer.isView(v) ? [...v] : v));
"""


def run(program: str, folder, given=None, scripts: str = "", parts=("ops.js", "network.js", "chains.js")):
    """The JSON that a program hands to ``answer``.

    Args:
        folder: an empty one. given: what the program finds as ``given``. scripts: of networks.
    """
    if NODE is None:
        pytest.skip("Node is not here; install it (Debian: apt-get install nodejs) to test the benches' arithmetic")
    (folder / "given.json").write_text(json.dumps(given), encoding="utf-8")
    text = PROLOGUE % (json.dumps(parts), json.dumps(FOLDER.as_posix())) + scripts + program
    (folder / "program.js").write_text(text, encoding="utf-8")
    answer = subprocess.run([NODE, "program.js"], cwd=folder, capture_output=True, encoding="utf-8")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)
