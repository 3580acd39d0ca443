"""What makes an executed notebook out of date: its text, its imports, its models, the data it finds. Nothing else."""

import json
import shutil

import pytest

from gen_utils.base.places import NOTEBOOKS, ROOT
from gen_utils.base.sources import code_hash
from gen_utils.publishing import identity
from gen_utils.publishing.identity import depends_on, fingerprint
from gen_utils.publishing.parts import parts

PART = "02_ebm_mnist"


def key(root, part=PART, profile="quick", seed=0):
    return fingerprint(part, profile, str(root), seed)


@pytest.mark.slow
def test_a_comment_in_the_press_makes_no_notebook_run_again():
    """And neither does anything else there: no notebook imports it. One draws from the models that ship."""
    for part in parts():
        modules = depends_on(part, "quick", "nowhere", 0)["modules"]
        assert not [m for m in modules if "/publishing/" in m or "/cli/" in m or m.endswith("__main__.py")]
        assert part == PART or not [m for m in modules if "/shipped/" in m]
        assert "gen_utils/report.py" in modules and "gen_utils/checks/core.py" in modules


def test_each_notebook_depends_on_what_it_imports_only():
    used = {part: set(depends_on(part, "quick", "nowhere", 0)["modules"]) for part in (PART, "07_gan_wgan")}
    assert "gen_utils/training/gan.py" in used["07_gan_wgan"] - used[PART]
    assert "gen_utils/training/ebm.py" in used[PART] and "gen_utils/samplers/langevin.py" in used[PART]
    assert "gen_utils/checks/jem.py" not in used[PART] | used["07_gan_wgan"]


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("gen_utils/samplers/langevin.py", "\n# a comment\n", True),
        ("gen_utils/publishing/execute.py", "\nNEW = 1\n", True),
        ("gen_utils/checks/jem.py", "\nNEW = 1\n", True),  # another part's
        ("gen_utils/samplers/langevin.py", "\nNEW = 1\n", False),
        (f"notebooks/{PART}.py", "\n# a comment is part of a notebook's text\n", False),
    ],
)
def test_what_counts(name, text, same, tmp_path, monkeypatch):
    """On a copy of the house: nobody else may see the change."""
    house = tmp_path / "house"
    shutil.copytree(ROOT / "gen_utils", house / "gen_utils", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(NOTEBOOKS, house / "notebooks", ignore=shutil.ignore_patterns("*.ipynb", ".*"))
    monkeypatch.setattr(identity, "NOTEBOOKS", house / "notebooks")
    package = house / "gen_utils"
    found = identity.imported_files
    monkeypatch.setattr(identity, "imported_files", lambda paths: found(paths, package))
    named = lambda files: {file.relative_to(house).as_posix(): code_hash(file) for file in files}  # noqa: E731
    monkeypatch.setattr(identity, "code_hashes", named)
    before = key(tmp_path)
    path = house / name
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    assert (key(tmp_path) == before) is same


def test_profile_seed_and_place_count():
    keys = {key("a"), key("b"), key("a", seed=1), key("a", profile="laptop"), key("a", part="01_sampling_playground")}
    assert len(keys) == 5 and key("a") == key("a")


def put_mnist(root, size=16):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0" * size)


def test_data_that_come_or_go_or_change_make_those_run_again_that_use_them(tmp_path):
    laptop = {part: key(tmp_path, part, "laptop") for part in (PART, "03_ebm_bitmoji", "08_dcgan_bitmoji")}
    put_mnist(tmp_path)
    assert key(tmp_path, PART, "laptop") != laptop[PART]
    for part in ("03_ebm_bitmoji", "08_dcgan_bitmoji"):  # faces only
        assert key(tmp_path, part, "laptop") == laptop[part]
    with_mnist = key(tmp_path, PART, "laptop")
    put_mnist(tmp_path, size=17)
    assert key(tmp_path, PART, "laptop") not in (with_mnist, laptop[PART])
    shutil.rmtree(tmp_path / "MNIST")
    assert key(tmp_path, PART, "laptop") == laptop[PART]


def test_weights_of_inception_that_come_make_those_run_again_that_ask_for_them(tmp_path, monkeypatch):
    weights = tmp_path / "inception.pth"
    monkeypatch.setenv("GEN_INCEPTION", str(weights))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # the package is here
    before = {part: key(tmp_path, part) for part in (PART, "08_dcgan_bitmoji")}
    weights.write_bytes(b"\0" * 8)
    assert key(tmp_path, "08_dcgan_bitmoji") != before["08_dcgan_bitmoji"] and key(tmp_path, PART) == before[PART]


def test_settings_of_another_profile_do_not_count(tmp_path):
    """`quick` draws Part B's digits itself: real MNIST at hand changes nothing there."""
    before = key(tmp_path, PART, "quick")
    put_mnist(tmp_path)
    assert "mnist" not in depends_on(PART, "quick", str(tmp_path), 0)["data"]
    assert key(tmp_path, PART, "quick") == before


def test_what_only_a_study_reads_does_not_count_where_none_is_run():
    """Part B draws shipped faces, in a study."""
    assert "bitmoji" not in depends_on(PART, "quick", "nowhere", 0)["data"]
    for profile in ("smoke", "laptop"):
        found = depends_on(PART, profile, "nowhere", 0)
        assert "bitmoji" in found["data"] and "cifar_classifier" in found["cards"]


def test_the_cards_it_loads_count_and_others_do_not(tmp_path, monkeypatch):
    cards = tmp_path / "checkpoints"
    shutil.copytree(ROOT / "checkpoints", cards, ignore=shutil.ignore_patterns("*.safetensors", "*.png"))
    monkeypatch.setattr(identity, "CHECKPOINTS", cards)
    before = key(tmp_path)

    def change(name):
        card = json.loads((cards / f"{name}.json").read_text(encoding="utf-8"))
        (cards / f"{name}.json").write_text(json.dumps(card | {"sha256": "0" * 64}), encoding="utf-8")

    change("dcgan_bitmoji")
    assert key(tmp_path) == before
    change("ebm_mnist")
    assert key(tmp_path) != before


def test_a_kept_run_counts_for_the_runs_that_show_it_and_not_for_its_own_kind(tmp_path, monkeypatch):
    from gen_utils.publishing import identity

    monkeypatch.setattr(identity, "RESULTS", tmp_path)

    def prints():
        return [identity.fingerprint("02_ebm_mnist", profile, str(tmp_path), 0) for profile in ("quick", "laptop")]

    before = prints()
    (tmp_path / "02_ebm_mnist.laptop").mkdir()
    (tmp_path / "02_ebm_mnist.laptop" / "outputs.json").write_text("{}", encoding="utf-8")
    between = prints()
    (tmp_path / "02_ebm_mnist.laptop.json").write_text("{}", encoding="utf-8")
    after = prints()
    assert len({before[0], between[0], after[0]}) == 3 and before[1] == between[1] == after[1]
