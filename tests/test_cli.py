import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest

from gen_utils import cli
from gen_utils.publishing.parts import parts

ROOT = Path(__file__).resolve().parent.parent


def run(*args):
    """The command in a process of its own."""
    command, env = [sys.executable, "-m", "gen_utils", *args], {**os.environ, "GEN_DATA_ROOT": ""}
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", env=env)


def ask(*args):
    """The same in this one, and what it would have ended with."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, GEN_DATA_ROOT=""),
        mock.patch.object(sys, "argv", ["gen_utils", *args]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    return SimpleNamespace(returncode=ended.value.code, stdout=out.getvalue(), stderr=err.getvalue())


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
    answer = ask(*args)
    assert answer.returncode == 1
    assert told in answer.stderr and "Traceback" not in answer.stderr and answer.stderr.count("\n") == 1


def test_an_error_ends_the_process_with_one_line():
    answer = run("data", "minst")
    assert answer.returncode == 1 and answer.stdout == ""
    assert answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1


def test_data_reads_a_dataset_whole(real_root):
    answer = ask("data", "mnist", "--data", str(real_root))
    assert answer.returncode == 0 and "60,000" in answer.stdout and "10,000" in answer.stdout


def test_data_lists_what_is_here_and_how_to_get_the_rest(tmp_path):
    (tmp_path / "hoda").mkdir()
    (tmp_path / "hoda" / "Test 20000.cdb").write_bytes(b"x")
    answer = ask("data", "--data", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    table, rest = answer.stdout.split("to get the rest:")
    assert f"here: {tmp_path / 'hoda'}" in table and "not here: avatars stands in" in table and "persian" not in rest
    for told in ("(1.3 GB)", "kaggle.com", "licence:", "img_align_celeba.zip", "dsprites_ndarray"):
        assert told in rest


def test_data_says_how_to_get_what_it_cannot_fetch(tmp_path):
    answer = ask("data", "celeba", "--data", str(tmp_path))
    assert answer.returncode == 1 and "mmlab.ie.cuhk.edu.hk" in answer.stderr and answer.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_data_prepares_what_is_here(tmp_path):
    from PIL import Image

    (tmp_path / "bitmojis").mkdir()
    for i in range(10):
        Image.new("RGB", (20, 20), (20 * i, 0, 0)).save(tmp_path / "bitmojis" / f"{i}.png")
    answer = ask("data", "--prepare", "--size", "16", "--data", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert "train: 9 images of shape (3, 16, 16)" in answer.stdout
    assert len(list((tmp_path / "prepared").glob("bitmoji-16-*.safetensors"))) == 2


def test_importing_the_package_is_light():
    """Importing gen_utils or its samplers must not pull in plotting, training or notebook machinery."""
    code = "import gen_utils, gen_utils.samplers, gen_utils.models, sys; print([m for m in "
    code += "('lightning', 'matplotlib', 'IPython', 'sklearn', 'torchvision', 'pandas') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr


def test_what_is_no_card_or_a_damaged_one_stops_nobody(tmp_path, monkeypatch, capsys):
    from gen_utils import checkpoints
    from gen_utils.cli import machine, models
    from gen_utils.models import SmallEnergy

    checkpoints.save("mine", SmallEnergy(width=4), {}, folder=tmp_path)
    checkpoints.save("broken", SmallEnergy(width=4), {}, folder=tmp_path)
    (tmp_path / "broken.json").write_text('{"model": ', encoding="utf-8")
    (tmp_path / "._mine.json").write_bytes(b"\0\xff")
    (tmp_path / "settings.json").write_text("[]", encoding="utf-8")
    names, read_card = checkpoints.names, checkpoints.read_card
    monkeypatch.setattr(checkpoints, "names", lambda folder=tmp_path: names(folder))
    monkeypatch.setattr(checkpoints, "read_card", lambda name: read_card(name, folder=tmp_path))
    machine.doctor(data=str(tmp_path))
    told = capsys.readouterr().out.split("trained models:\n")[1].splitlines()
    assert len(told) == 2 and "broken.json is damaged" in told[0] and told[1].split()[:2] == ["mine", "SmallEnergy"]
    models.models(SimpleNamespace(invoked_subcommand=None))
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and told[1].split()[0] == "mine" and told[1].endswith("not measured")


def test_kernels_get_whole_paths(tmp_path, monkeypatch):
    from gen_utils.cli import options

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEN_RUNS", "runs")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.delenv("GEN_INCEPTION", raising=False)
    options.places_for_kernels()
    assert os.environ["GEN_RUNS"] == str(tmp_path / "runs") and "GEN_INCEPTION" not in os.environ


def test_kernels_have_a_home_where_the_user_has_none(tmp_path, monkeypatch):
    """As in a container under a number that no file knows; Jupyter would die of it."""
    from gen_utils.base import places
    from gen_utils.cli import options

    monkeypatch.setenv("HOME", "unknown")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(places, "BUILD", tmp_path)
    options.places_for_kernels()
    assert os.environ["HOME"] == str(tmp_path / "home") and (tmp_path / "home").is_dir()


def test_lab_finds_the_data_and_this_python(tmp_path, monkeypatch):
    from gen_utils.cli import press
    from gen_utils.publishing import parts

    started = {}
    monkeypatch.setattr(parts, "parts", list)
    monkeypatch.setattr(press.subprocess, "call", lambda command, **options: started.update(options) or 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GEN_DATA_ROOT", raising=False)
    with pytest.raises(press.typer.Exit):
        press.lab()
    assert started["env"]["GEN_DATA_ROOT"] == str(tmp_path / "data")  # the kernels' folder is another
    assert started["env"]["JUPYTER_PREFER_ENV_PATH"] == "1"


@pytest.fixture
def press(tmp_path, monkeypatch):
    """The press, with nothing run and nothing built; and what was asked of it, in order."""
    from gen_utils.cli import press
    from gen_utils.publishing import book, parallel

    asked = []
    monkeypatch.chdir(tmp_path)

    def execute_all(names, **options):
        asked.append(("run", options["out"]))
        return {name: options["out"] / f"{name}.ipynb" for name in names}

    monkeypatch.setattr(parallel, "execute_all", execute_all)
    monkeypatch.setattr(
        book, "build_book", lambda own, **options: asked.append((f"book of {len(own)} own runs", options["out"]))
    )
    return press, asked


def test_a_book_in_a_relative_folder_goes_where_the_user_stands(tmp_path, press):
    press, asked = press
    press.book(out=Path("public"), jobs=1, profile="laptop")
    folder = tmp_path / "public"
    assert asked == [("run", folder / "laptop" / "notebooks"), (f"book of {len(parts())} own runs", folder)]


def test_a_first_book_can_be_read_before_anything_is_run(tmp_path, press, capsys):
    press, asked = press
    press.book(out=Path("public"), jobs=1)
    assert [what for what, _ in asked] == ["book of 0 own runs", "run", f"book of {len(parts())} own runs"]
    assert "You can read the long runs now: open " in capsys.readouterr().out
    asked.clear()
    (tmp_path / "public" / "quick" / "notebooks").mkdir(parents=True)
    for part in parts():
        (tmp_path / "public" / "quick" / "notebooks" / f"{part}.ipynb").write_text("{}", encoding="utf-8")
    press.book(out=Path("public"), jobs=1)  # there is a book with both already
    assert [what for what, _ in asked] == ["run", f"book of {len(parts())} own runs"]


def test_reading_runs_nothing(press):
    press, asked = press
    press.read()
    assert [what for what, _ in asked] == ["book of 0 own runs"]


def test_only_a_long_run_is_kept(press):
    press, asked = press
    with pytest.raises(ValueError, match="a quick run is not kept: choose --profile laptop or full"):
        press.run("02", keep=True)
    assert not asked
