"""What would break on Windows: text in its code page, what only Unix has, names of files that it does not allow."""

import ast
import os
import re
import subprocess
import sys

import pytest

from gen_utils.base.places import ROOT

FOLDERS = ("gen_utils", "benchmarks", "lint", "notebooks")
HELPERS = ("conftest.py", "notebook_slices.py")  # of the tests
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if path.parent.name[0] != ".")
SOURCES += [ROOT / "tests" / name for name in HELPERS]
TEXT = {"read_text", "write_text"}
PROCESSES = {"run", "Popen", "check_output", "check_call", "call"}
UNIX_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "crypt", "nis", "posix"}
_UNIX = {
    "os": {"fork", "kill", "killpg", "getuid", "geteuid", "getgid", "getegid", "getpgid", "getppid", "setsid",
           "setpgid", "mkfifo", "mknod", "chown", "nice", "uname", "statvfs", "wait", "waitid", "sched_getaffinity",
           "sched_setaffinity", "getloadavg", "sysconf", "posix_spawn", "waitstatus_to_exitcode"},
    "signal": {"SIGKILL", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "setitimer", "alarm", "pause"},
    "time": {"tzset", "clock_gettime", "clock_settime"},
}  # fmt: skip
UNIX_NAMES = {f"{module}.{name}" for module, names in _UNIX.items() for name in names}
GUARD = re.compile(r"os\.name|sys\.platform|hasattr|platform\.system|\.exists\(\)")  # somebody has asked
UNIX_FOLDERS = re.compile(r"^/(proc|dev|tmp|etc|usr|sys)\b")
FORBIDDEN = re.compile(r'[<>:"\\|?*\x00-\x1f]|[. ]$')
RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.I)


def in_the_code_page(source: str) -> list[str]:
    """The calls that read or write text in whatever encoding the system has."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        mode = _mode(call, given)
        text = (
            name in TEXT
            or (name == "open" and not _of_a_library(call.func) and "b" not in (mode or "r"))
            or (name in {"fdopen", "TextIOWrapper", "FileHandler"})
            or (name in {"NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile"} and "b" not in (mode or "b"))
            or (name in PROCESSES | {"dict"} and {"text", "universal_newlines"} & given.keys())
        )
        if text and "encoding" not in given and None not in given:  # None: **options, seen where they are made
            found.append(f"line {call.lineno}: {ast.unparse(call)[:80]}")
    return found


def _mode(call: ast.Call, given: dict) -> str | None:
    modes = [given["mode"]] if "mode" in given else call.args
    texts = [node.value for node in modes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return next((text for text in texts if re.fullmatch(r"[rwaxbt+]+", text)), None)


def _of_a_library(function: ast.expr) -> bool:
    """tarfile.open, Image.open and their like, which read no text; archive.open(name)."""
    owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
    return owner in {"tarfile", "zipfile", "Image", "archive", "os", "webbrowser"}


def only_on_unix(source: str) -> list[str]:
    """Names and folders that Windows lacks, in a function (or at a file's top) that does not ask for them first."""
    found = []

    def look(node: ast.AST, asked: bool) -> None:
        if isinstance(node, (ast.FunctionDef, ast.Module)):
            body = ast.unparse(node) if isinstance(node, ast.FunctionDef) else ""
            asked = asked or bool(GUARD.search(body))
        if isinstance(node, ast.Import) and not asked:
            found.extend(f"line {node.lineno}: {a.name}" for a in node.names if a.name in UNIX_MODULES)
        if isinstance(node, ast.ImportFrom) and node.module in UNIX_MODULES and not asked:
            found.append(f"line {node.lineno}: {node.module}")
        name = ast.unparse(node) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else ""
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if (name in UNIX_NAMES or UNIX_FOLDERS.match(text)) and not asked:
            found.append(f"line {node.lineno}: {name or repr(text[:40])}")
        for child in ast.iter_child_nodes(node):
            look(child, asked)

    look(ast.parse(source), False)
    return found


def not_allowed(names: list[str]) -> list[str]:
    """Paths with a part that Windows refuses or keeps for devices, and paths that differ in capitals only."""
    parts = [name for name in names if any(FORBIDDEN.search(p) or RESERVED.match(p) for p in name.split("/"))]
    folded = [name.lower() for name in names]
    return parts + [name for name in names if folded.count(name.lower()) > 1]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_has_its_encoding_named_and_unix_is_asked_for_first(path):
    source = path.read_text(encoding="utf-8")
    assert in_the_code_page(source) == [] and only_on_unix(source) == []


def test_the_names_of_files_are_allowed_everywhere():
    answer = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8")
    names = answer.stdout.split("\0")[:-1] or [path.relative_to(ROOT).as_posix() for path in SOURCES]
    assert len(names) > 100 and not_allowed(names) == []
    assert max(map(len, names)) < 120  # of the 260 that a whole path may have


@pytest.mark.parametrize(
    "line",
    ["path.read_text()", "path.write_text(x)", "open(path)", "path.open('w')", "open(path, 'a', newline='')",
     "subprocess.run(x, text=True)", "tempfile.NamedTemporaryFile('w')", "os.fdopen(3)"],
)  # fmt: skip
def test_a_forgotten_encoding_is_seen(line):
    assert len(in_the_code_page(line)) == 1


def test_bytes_and_named_encodings_are_fine():
    fine = ["open(path, 'rb')", "path.open(mode='wb')", "open(path, encoding='utf-8')", "Image.open(file)",
            "path.read_text(encoding='utf-8')", "tarfile.open(path, 'r:gz')", "subprocess.run(x)",
            "TemporaryFile()"]  # fmt: skip
    assert [line for line in fine if in_the_code_page(line)] == []


def test_what_only_unix_has_is_seen_unless_it_is_asked_for():
    for line in ("import fcntl", "os.kill(1, 9)", "signal.alarm(1)", "Path('/dev/null')", "def f():\n    os.getuid()"):
        assert len(only_on_unix(line)) == 1, line
    assert only_on_unix("def f():\n    if hasattr(os, 'getuid'):\n        return os.getuid()") == []


def test_names_that_windows_refuses_are_seen():
    names = ["a/what?.py", "b/aux.json", "c/x.", "d/Readme", "d/README", "e/fine.py"]
    assert not_allowed(names) == names[:5]


def test_output_in_a_code_page_cannot_fail():
    """A check's ✓, a ∇, and a file's name that no encoding has, in the pipes of Windows and of a plain C locale."""
    code = r"import gen_utils; print('✓ ∇ ok', '\udcff'); import sys; print('✗', file=sys.stderr)"
    for encoding in ("cp1252", "ascii", "utf-8"):
        command = [sys.executable, "-X", "utf8=0", "-c", code]
        variables = {**os.environ, "PYTHONIOENCODING": encoding}
        answer = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.decode(encoding).rstrip() == ("✓ ∇ ok ?" if encoding == "utf-8" else "? ? ok ?")
