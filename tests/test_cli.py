import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*args, **env):
    return subprocess.run(
        [sys.executable, "-m", "gen_utils", *args],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "GEN_DATA_ROOT": "", **env},
    )


def test_doctor_says_what_is_here(tmp_path):
    answer = run("doctor", "--data", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    for word in ("torch", "jupyter-book", "device", "mnist", "stands in", "ebm_mnist", "digit_classifier"):
        assert word in answer.stdout


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("run", "99"), "02_ebm_mnist"),
        (("run", "02", "--profile", "fast"), "quick, laptop, full"),
        (("data", "minst"), "mnist, fashion_mnist"),
    ],
)
def test_bad_input_is_one_line_that_lists_the_known(args, told):
    answer = run(*args)
    assert answer.returncode == 1
    assert told in answer.stderr and "Traceback" not in answer.stderr and answer.stderr.count("\n") == 1


def test_data_reads_a_dataset_whole(real_root):
    answer = run("data", "mnist", "--data", str(real_root))
    assert answer.returncode == 0 and "60,000" in answer.stdout and "10,000" in answer.stdout


def test_data_lists_what_is_here_and_how_to_get_the_rest(tmp_path):
    (tmp_path / "hoda").mkdir()
    (tmp_path / "hoda" / "Test 20000.cdb").write_bytes(b"x")
    answer = run("data", "--data", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    table, rest = answer.stdout.split("to get the rest:")
    assert f"here: {tmp_path / 'hoda'}" in table and "not here: avatars stands in" in table and "persian" not in rest
    for told in ("(1.3 GB)", "kaggle.com", "licence:", "img_align_celeba.zip", "dsprites_ndarray"):
        assert told in rest


def test_data_says_how_to_get_what_it_cannot_fetch(tmp_path):
    answer = run("data", "celeba", "--data", str(tmp_path))
    assert answer.returncode == 1 and "mmlab.ie.cuhk.edu.hk" in answer.stderr and answer.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_data_prepares_what_is_here(tmp_path):
    from PIL import Image

    (tmp_path / "bitmojis").mkdir()
    for i in range(10):
        Image.new("RGB", (20, 20), (20 * i, 0, 0)).save(tmp_path / "bitmojis" / f"{i}.png")
    answer = run("data", "--prepare", "--size", "16", "--data", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert "train: 9 images of shape (3, 16, 16)" in answer.stdout
    assert len(list((tmp_path / "prepared").glob("bitmoji-16-*.safetensors"))) == 2


def test_importing_the_package_is_light():
    """Importing gen_utils or its samplers must not pull in plotting, training or notebook machinery."""
    code = "import gen_utils, gen_utils.samplers, gen_utils.models, sys; print([m for m in "
    code += "('lightning', 'matplotlib', 'IPython', 'sklearn', 'torchvision', 'pandas') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr
