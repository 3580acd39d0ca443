"""Places that a user chooses: ~ is expanded, empty is unset, and the home is asked for only where it is named."""

import os
import re
from pathlib import Path

import pytest

from gen_utils.base.places import ROOT, runs_root
from gen_utils.data import data_root
from gen_utils.data.cache import cache_folders
from gen_utils.evaluation.feature_networks import inception_weights

CHOSEN = {
    "GEN_RUNS": runs_root,
    "GEN_DATA_ROOT": data_root,
    "XDG_CACHE_HOME": lambda: cache_folders(Path("no such folder"))[0].parent,
    "GEN_INCEPTION": inception_weights,
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(tmp_path))
    for variable in CHOSEN:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def nobody(monkeypatch):
    """A process in a container, without $HOME, under a user id that no file knows."""

    def unknown(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(unknown))
    monkeypatch.setattr(Path, "expanduser", lambda path: unknown(path) if str(path).startswith("~") else path)


@pytest.mark.parametrize("variable", CHOSEN)
def test_a_tilde_is_the_home_and_empty_is_unset(variable, home, monkeypatch):
    unset = CHOSEN[variable]()
    monkeypatch.setenv(variable, "~/mine")
    assert CHOSEN[variable]() == home / "mine"
    for nothing in ("", "  "):
        monkeypatch.setenv(variable, nothing)
        assert CHOSEN[variable]() == unset


@pytest.mark.parametrize("variable", CHOSEN)
def test_without_a_home_whole_paths_work(variable, nobody, monkeypatch, tmp_path):
    monkeypatch.setenv(variable, str(tmp_path / "mine"))
    assert CHOSEN[variable]() == tmp_path / "mine"


def test_without_a_home_what_does_not_need_one_works(nobody, monkeypatch, tmp_path):
    for variable in CHOSEN:
        monkeypatch.delenv(variable, raising=False)
    assert runs_root() == Path("runs") and data_root() == Path("data")
    assert cache_folders(tmp_path)[0] == tmp_path / "prepared"


def test_a_home_that_is_needed_and_not_known_is_one_sentence(nobody, monkeypatch):
    monkeypatch.setenv("GEN_RUNS", "~/runs")
    with pytest.raises(ValueError, match=r"GEN_RUNS is ~/runs, and no home folder is known here; give the whole path"):
        runs_root()


def test_every_variable_that_names_a_path_is_read_in_one_way():
    names = "|".join(CHOSEN)
    past = re.compile(rf"""(environ\.get\(|environ\[|getenv\()["']({names})["']""")
    assert [path.name for path in ROOT.glob("gen_utils/**/*.py") if past.search(path.read_text(encoding="utf-8"))] == []
