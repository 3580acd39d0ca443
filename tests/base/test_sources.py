"""Reading code: imports found without importing, comments and docstrings set aside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gen_utils.base.places import NOTEBOOKS
from gen_utils.base.sources import code_hash, enclosed_names, global_names, imported_files, instructions


@pytest.fixture
def house(tmp_path):
    """A small package whose ``__init__`` passes names on."""
    files = {
        "house/__init__.py": "from .kitchen import cook\nfrom .cellar import wine as red\n",
        "house/kitchen.py": "from . import pantry\ndef cook():\n    from .attic.box import toy\n    return toy\n",
        "house/pantry.py": "bread = 1\n",
        "house/cellar.py": "wine = 1\n",
        "house/attic/__init__.py": "dust = 1\n",
        "house/attic/box.py": "import house.hall as hall\ntoy = hall\n",
        "house/hall.py": "from house import *\n",
        "house/alone.py": "import os\nfrom ..elsewhere import x\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "house"


def found(house, text):
    visitor = house.parent / "visitor.py"
    visitor.write_text(text, encoding="utf-8")
    return {path.relative_to(house).as_posix() for path in imported_files([visitor], house)}


def test_a_name_that_is_passed_on_leads_to_its_file_and_to_no_other(house):
    assert found(house, "from house import red") == {"__init__.py", "cellar.py"}


def test_imports_inside_functions_and_of_whole_modules_count(house):
    assert found(house, "from house.kitchen import cook") == {
        "__init__.py", "kitchen.py", "pantry.py", "attic/__init__.py", "attic/box.py", "hall.py", "cellar.py",
    }  # fmt: skip


def test_a_whole_package_is_all_that_its_init_imports(house):
    assert "cellar.py" in found(house, "import house") and "pantry.py" in found(house, "import house")
    assert found(house, "from house import attic") == {"__init__.py", "attic/__init__.py"}


def test_what_is_not_of_the_package_is_left_out(house):
    assert found(house, "import os\nfrom json import dumps") == set()
    assert found(house, "from house.alone import os") == {"__init__.py", "alone.py"}


def test_every_module_that_a_notebook_really_imports_is_found():
    """The reader against Python itself: what is in sys.modules after the imports of a notebook."""
    notebook = NOTEBOOKS / "02_ebm_mnist.py"
    code = (
        "import ast, json, sys\n"
        f"tree = ast.parse(open({str(notebook)!r}, encoding='utf-8').read())\n"
        "tree.body = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]\n"
        "exec(compile(tree, 'imports', 'exec'))\n"
        "files = [m.__file__ for n, m in sys.modules.items() if n.startswith('gen_utils.')]\n"
        "print(json.dumps(files))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, cwd=NOTEBOOKS.parent
    )
    # A package's __init__ imports more than was asked for; what was asked for by name must be there.
    read = set(imported_files([notebook]))
    loaded = {Path(file) for file in json.loads(answer.stdout)}
    assert read <= loaded | {p for p in read if "publishing" not in p.parts}
    assert not any({"publishing", "cli"} & set(path.parts) for path in read)
    for needed in ("training/fit.py", "samplers/langevin.py", "evaluation/frechet.py", "checks/core.py", "losses.py"):
        assert any(path.as_posix().endswith(needed) for path in read), needed


BEFORE = '''
"""A module."""
LIMIT = 3

def f(x, y=2):
    """What f does."""
    return [g(x) for _ in range(LIMIT)] if x in {"a", "b"} else y + 0.5  # half
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("# half", "# a half, and more", True),
        ('"""What f does."""', '"""Something else."""', True),
        ('    """What f does."""\n', "", True),
        ("\ndef f", "\n\n\n# a comment\ndef f", True),
        ("LIMIT = 3", "LIMIT = 4", False),
        ("0.5", "0.25", False),
        ("y=2", "y=3", False),
        ("y + 0.5", "y - 0.5", False),
        ('"b"', '"c"', False),
        ("g(x)", "h(x)", False),
        ("range(LIMIT)", "range(LIMIT, 9)", False),
    ],
)
def test_a_file_is_another_when_its_code_is(tmp_path, old, new, same):
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text(BEFORE, encoding="utf-8")
    assert old in BEFORE
    b.write_text(BEFORE.replace(old, new), encoding="utf-8")
    assert (code_hash(a) == code_hash(b)) is same

    def steps(text):
        space = {}
        exec(compile(text, "f", "exec"), space)
        return list(instructions(space["f"].__code__))

    if old not in ("LIMIT = 3", "y=2"):  # which are not of the function's code
        assert (steps(BEFORE) == steps(BEFORE.replace(old, new))) is same


def test_a_files_hash_is_the_same_in_every_process(tmp_path):
    path = tmp_path / "a.py"
    path.write_text(BEFORE, encoding="utf-8")
    code = (
        f"from pathlib import Path; from gen_utils.base.sources import code_hash; print(code_hash(Path({str(path)!r})))"
    )
    for seed in ("1", "2"):
        answer = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, encoding="utf-8", check=True,
            cwd=NOTEBOOKS.parent, env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert answer.stdout.strip() == code_hash(path)


def test_the_globals_of_a_function_and_the_parts_that_it_reads():
    space = {}
    exec(
        "def f(x):\n"
        "    def inner():\n"
        "        return settings.depth + other\n"
        "    return settings.width + settings['height'] + whole[x] + whole.part + len(x) + inner()\n",
        space,
    )
    names = global_names(space["f"].__code__)
    assert names["settings"] == {"width", "height", "depth"}
    assert names["whole"] is None and names["other"] is None and "x" not in names


def test_a_name_of_a_surrounding_function_is_not_a_global_one():
    space = {}
    exec(
        "def f():\n    seen = []\n    def g(x):\n        return [seen.append(y) for y in x], run\n    return g\n", space
    )
    g = space["f"]()
    assert enclosed_names(g.__code__) == {"seen": {"append"}} and global_names(g.__code__) == {"run": None}
