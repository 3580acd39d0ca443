import json

import pytest
import torch
from torch import nn

from gen_utils import checkpoints
from gen_utils.base import files
from gen_utils.base.files import write_atomically
from gen_utils.models import SmallClassifier, SmallEnergy


def test_a_model_comes_back_in_eval_mode_with_its_card(tmp_path):
    net = SmallEnergy(width=4).train()
    checkpoints.save("mine", net, {"data": "digits"}, folder=tmp_path)
    again = checkpoints.load("mine", folder=tmp_path)
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(again(x), net(x)) and not again.training
    assert again.card["data"] == "digits" and again.card["model"] == "SmallEnergy"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.json", "mine.safetensors"]


def test_half_precision_on_disk_is_float32_in_memory(tmp_path):
    net = SmallClassifier(width=4)
    checkpoints.save("half", net, {}, folder=tmp_path, dtype=torch.float16)
    again = checkpoints.load("half", folder=tmp_path)
    assert all(v.dtype in (torch.float32, torch.int64) for v in again.state_dict().values())
    assert torch.allclose(again.head.weight, net.head.weight, atol=1e-3)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    checkpoints.save("mine", SmallEnergy(width=4), {}, folder=tmp_path)
    with pytest.raises(FileNotFoundError, match="known: mine"):
        checkpoints.load("yours", folder=tmp_path)


def test_a_name_cannot_leave_the_folder(tmp_path):
    checkpoints.save("mine", SmallEnergy(width=4), {}, folder=tmp_path)
    with pytest.raises(FileNotFoundError, match="no trained model"):
        checkpoints.load("../mine", folder=tmp_path / "inner")


def test_other_json_and_hidden_files_are_no_models(tmp_path):
    checkpoints.save("mine", SmallEnergy(width=4), {}, folder=tmp_path)
    (tmp_path / "._mine.json").write_bytes(b"\0\5\x16\7 Mac OS X \xff")  # as macOS leaves them on a foreign disk
    (tmp_path / ".hidden.json").write_text("{}", encoding="utf-8")
    (tmp_path / "notes.json").write_text('{"model": "of mine"}', encoding="utf-8")
    (tmp_path / "list.json").write_text("[1, 2]", encoding="utf-8")
    (tmp_path / "text.json").write_text("no JSON", encoding="utf-8")
    (tmp_path / "folder.json").mkdir()
    assert checkpoints.names(tmp_path) == ["mine"]
    with pytest.raises(FileNotFoundError, match="known: mine"):
        checkpoints.load("notes", folder=tmp_path)


def test_a_damaged_card_is_still_a_model(tmp_path):
    checkpoints.save("mine", SmallEnergy(width=4), {}, folder=tmp_path)
    (tmp_path / "mine.json").write_text('{"model": "Sma', encoding="utf-8")
    assert checkpoints.names(tmp_path) == ["mine"]
    with pytest.raises(ValueError, match="damaged"):
        checkpoints.read_card("mine", folder=tmp_path)


def test_damaged_weights_are_refused(tmp_path):
    path = checkpoints.save("mine", SmallEnergy(width=4), {}, folder=tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="hash"):
        checkpoints.load("mine", folder=tmp_path)


def test_missing_weights_are_named(tmp_path):
    checkpoints.save("mine", SmallEnergy(width=4), {}, folder=tmp_path).unlink()
    with pytest.raises(FileNotFoundError, match=r"mine\.safetensors"):
        checkpoints.load("mine", folder=tmp_path)


def test_weights_that_no_longer_fit_say_so(tmp_path):
    checkpoints.save("mine", SmallEnergy(width=4), {}, folder=tmp_path)
    card = json.loads((tmp_path / "mine.json").read_text())
    card["config"]["width"] = 8
    (tmp_path / "mine.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="no longer fit"):
        checkpoints.load("mine", folder=tmp_path)


def test_only_the_packages_networks_can_be_named(tmp_path):
    with pytest.raises(ValueError, match=r"gen_utils\.models"):
        checkpoints.save("mine", nn.Linear(2, 2), {}, folder=tmp_path)
    checkpoints.save("mine", SmallEnergy(width=4), {}, folder=tmp_path)
    card = json.loads((tmp_path / "mine.json").read_text())
    (tmp_path / "mine.json").write_text(json.dumps({**card, "model": "__builtins__"}))
    with pytest.raises(ValueError, match=r"gen_utils\.models does not have"):
        checkpoints.load("mine", folder=tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomically(path, b"old")

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", checkpoints.names())
def test_every_shipped_model_loads_and_its_card_is_whole(name):
    net = checkpoints.load(name)
    assert {"data", "profile", "seed", "seconds", "metrics"} <= net.card.keys()
    assert net.card["parameters"] == sum(p.numel() for p in net.parameters())


def test_the_shipped_classifier_is_as_good_as_its_card_says(real_root):
    from gen_utils.data import load_images

    net = checkpoints.load("digit_classifier")
    test = load_images("mnist", "test", root=real_root, limit=2000)
    with torch.no_grad():
        accuracy = (net(test.scaled()).argmax(1) == test.labels).double().mean().item()
    claimed = net.card["metrics"]["test_accuracy"]["value"]
    assert abs(accuracy - claimed) < 4 * (claimed * (1 - claimed) / 2000) ** 0.5


def test_a_metric_has_a_value_or_is_refused(tmp_path):
    with pytest.raises(ValueError, match="gains is"):
        checkpoints.save("mine", SmallEnergy(width=4), {"metrics": {"gains": [1.0, 2.0]}}, folder=tmp_path)


def test_a_card_says_where_it_comes_from_and_can_be_rewritten(tmp_path):
    checkpoints.save("mine", SmallEnergy(width=4), {"profile": "full"}, folder=tmp_path)
    card = checkpoints.read_card("mine", folder=tmp_path)
    assert {"date", "commit", "machine"} <= card.keys()
    assert card["command"] == "python -m gen_utils models train mine --profile full --data path/to/data"
    checkpoints.rewrite_card("mine", {"metrics": {"x": {"value": 1.0}}}, folder=tmp_path)
    again = checkpoints.load("mine", folder=tmp_path).card
    assert again["metrics"] == {"x": {"value": 1.0}} and again["sha256"] == card["sha256"]
