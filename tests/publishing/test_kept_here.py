"""The long runs that this workbook keeps: whole, small, and of the notebooks as they are."""

import json
import re

import pytest

from gen_utils import kept_runs
from gen_utils.base.places import RESULTS
from gen_utils.publishing import cards, keep
from gen_utils.publishing.parts import parts


@pytest.fixture(params=parts())
def run(request):
    found = kept_runs.find(request.param)
    if found is None:
        pytest.skip(f"no long run of {request.param} is kept yet")
    return found


def test_it_is_small_and_names_its_data_and_its_machine(run):
    assert run.size <= kept_runs.LIMIT
    assert run.about["machine"]["cpu"] and run.about["date"]
    assert run.about["data"] or run.about["part"] == "01_sampling_playground"  # which needs none
    for place, here in run.about["data"].items():
        dataset = cards.CATALOG[place]
        assert here or dataset.stand_in is None or "sprites" in place, f"{place} was not at hand"


def test_no_cell_is_stale(run):
    stale = keep.stale_cells(run)
    assert not stale, f"{len(stale)} cells have changed; renew them with: {run.command}"


def test_its_numbers_and_its_pictures_are_of_one_run(run):
    path = RESULTS / f"{run.about['part']}.{run.about['profile']}.json"
    numbers = json.loads(path.read_text(encoding="utf-8"))
    assert all(numbers[name] == run.about[name] for name in ("seed", "seconds", "date"))


def test_every_study_of_the_notebook_is_in_it(run):
    sources = keep.code_cells(run.about["part"])
    named = [name for source in sources for name in keep.STUDY.findall(source)]
    assert sorted(named) == sorted(set(named)) == sorted(run.studies)


# A folder of some machine; not an address, a fraction, a closing tag or a path of the workbook's own.
FOLDER = re.compile(r"(?<![\w:/.<*~\\$)\]}>-])/(?:[\w.@-]+/)+[\w.@-]*|\b[A-Z]:\\\\\w")


def test_it_holds_no_path_and_no_failure(run):
    written = (run.folder / "outputs.json", RESULTS / f"{run.about['part']}.{run.about['profile']}.json")
    for text in (path.read_text(encoding="utf-8") for path in written):
        assert FOLDER.findall(text) == [] and str(RESULTS.parent) not in text and "Traceback" not in text
