"""An answer written into one of a notebook's two files is never lost in silence."""

import os
import shutil

import jupytext
import nbformat
import pytest

from gen_utils.base.places import NOTEBOOKS
from gen_utils.publishing.pairs import refuse_both_changed, remember

PART = "02_ebm_mnist"


@pytest.fixture
def pair(tmp_path):
    """A part as .py and .ipynb, in a folder with our settings of jupytext."""
    for name in (f"{PART}.py", "jupytext.toml"):
        shutil.copy(NOTEBOOKS / name, tmp_path)
    text, notebook = tmp_path / f"{PART}.py", tmp_path / f"{PART}.ipynb"
    nbformat.write(jupytext.read(text), notebook)
    return text, notebook


def answer(path):
    """Write an answer into one of the two files, as another program would."""
    book = jupytext.read(path)
    cell = next(cell for cell in book.cells if "raise NotImplementedError" in cell.source)
    cell.source = cell.source.replace("raise NotImplementedError", f"return 'in {path.suffix}'")
    if path.suffix == ".ipynb":
        nbformat.write(book, path)
    else:
        path.write_text(jupytext.writes(book, "py:percent"), encoding="utf-8")


def open_in_jupyterlab(notebook):
    manager = jupytext.TextFileContentsManager()
    manager.root_dir = str(notebook.parent)
    return "\n".join(cell.source for cell in manager.get(notebook.name)["content"].cells)


def older(path):
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 100))


def test_a_new_pair_opens_whichever_file_is_newer(pair):
    text, notebook = pair
    older(text)
    assert "raise NotImplementedError" in open_in_jupyterlab(notebook)
    older(notebook)
    older(notebook)
    assert "raise NotImplementedError" in open_in_jupyterlab(notebook)


def test_an_answer_in_the_newer_ipynb_is_not_replaced(pair):
    text, notebook = pair
    answer(notebook)
    older(text)
    with pytest.raises(Exception, match="is more recent than"):
        open_in_jupyterlab(notebook)
    assert "in .ipynb" in notebook.read_text(encoding="utf-8")


def test_both_changed_is_refused_before_jupyterlab_opens(pair, tmp_path):
    text, notebook = pair
    memory = tmp_path / "build" / "pairs.json"
    refuse_both_changed(tmp_path, memory)
    answer(notebook)
    refuse_both_changed(tmp_path, memory)  # jupytext will refuse to open it
    text.write_text(text.read_text(encoding="utf-8") + "\n# %%\nprint('pulled')\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{PART}\.py and {PART}\.ipynb have both changed since they agreed"):
        refuse_both_changed(tmp_path, memory)
    notebook.unlink()
    refuse_both_changed(tmp_path, memory)


def test_an_edited_source_is_no_reason_to_refuse(pair, tmp_path):
    text, notebook = pair
    memory = tmp_path / "pairs.json"
    remember(tmp_path, memory)
    answer(text)
    refuse_both_changed(tmp_path, memory)
    assert "in .py" in open_in_jupyterlab(notebook)


def test_the_same_change_in_both_is_agreement(pair, tmp_path):
    memory = tmp_path / "pairs.json"
    memory.write_text("[damaged")
    remember(tmp_path, memory)
    answer(pair[0])
    nbformat.write(jupytext.read(pair[0]), pair[1])
    refuse_both_changed(tmp_path, memory)
    answer(pair[1])  # since they agreed last, one file has changed
    refuse_both_changed(tmp_path, memory)


def test_a_damaged_notebook_is_named(pair, tmp_path):
    pair[1].write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{PART}\.ipynb is not a whole notebook"):
        refuse_both_changed(tmp_path, tmp_path / "pairs.json")
