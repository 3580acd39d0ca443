"""The chapters' claims hold of what their long runs recorded."""

import json

import pytest

from gen_utils import kept_runs
from gen_utils.base.places import NOTEBOOKS, RESULTS
from gen_utils.publishing import claims
from gen_utils.publishing.parts import parts


@pytest.mark.parametrize("part", parts())
def test_every_claim_of_a_chapter_holds_of_its_long_run(part):
    path = RESULTS / f"{part}.laptop.json"
    if not path.exists():
        pytest.skip("no long run is kept")
    records = json.loads(path.read_text(encoding="utf-8"))["records"]
    broken, waiting = [], []
    for claim in claims.claims(part):
        try:
            broken += [] if claim.check(records) else [claim.says]
        except ValueError as error:
            waiting.append(str(error))
    assert not broken
    if waiting and kept_runs.find(part) is None:  # numbers from before this notebook's long runs were kept whole
        pytest.skip(f"{len(waiting)} claims wait for records that the next long run makes")
    assert not waiting


def test_every_part_has_claims_and_every_file_a_part():
    assert [path.stem for path in sorted((NOTEBOOKS / "claims").glob("*"))] == parts()


def test_a_claim_that_does_not_hold_is_found():
    records = {"near": 2.0, "far": 9.0, "a list": [1, 2]}
    assert claims.Claim("nearer", "near < far / 4").check(records)
    assert not claims.Claim("much nearer", "near < far / 5").check(records)
    assert claims.Claim("by its full name", 'max(r["a list"]) == near').check(records)


def test_a_claim_of_what_is_not_recorded_is_refused():
    for holds in ("nowhere > 1", "near >", "near.nowhere", "__import__('os')"):
        with pytest.raises(ValueError, match="cannot be worked out"):
            claims.Claim("?", holds).check({"near": 2.0})


def test_a_file_that_is_not_a_list_of_claims_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "NOTEBOOKS", tmp_path)
    assert claims.claims("02_x") == []
    (tmp_path / "claims").mkdir()
    for text in ("[[claim]]\nsays = 'a'\n", "claims = 3\n", "[[claim"):
        (tmp_path / "claims" / "02_x.toml").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="says and holds"):
            claims.claims("02_x")
