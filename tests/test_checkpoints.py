import json

import numpy as np
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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_and_the_old_model_stays(value, tmp_path):
    net = SmallEnergy(width=4)
    checkpoints.save("mine", net, {"which": "old"}, folder=tmp_path)
    with torch.no_grad():
        net.net[2].weight[0, 0, 0, 0] = value
    for dtype in (None, torch.float16):
        with pytest.raises(ValueError, match=r"net\.2\.weight of mine is not finite; save a model from before"):
            checkpoints.save("mine", net, {"which": "new"}, folder=tmp_path, dtype=dtype)
    assert checkpoints.load("mine", folder=tmp_path).card["which"] == "old"


@pytest.mark.parametrize(
    ("dtype", "largest"), [(torch.float16, 1e5), (torch.bfloat16, 1e39), (torch.float32, 1e39), (None, 1e300)]
)
def test_a_weight_that_the_type_on_disk_cannot_hold_is_refused(dtype, largest, tmp_path):
    net = SmallEnergy(width=4).double()
    with torch.no_grad():
        net.net[0].bias[1] = largest
    with pytest.raises(
        ValueError, match=r"net\.0\.bias of mine reaches 1e\+\d+, more than torch.* holds; take a wider dtype"
    ):
        checkpoints.save("mine", net, {}, folder=tmp_path, dtype=dtype)
    assert not list(tmp_path.iterdir())
    if largest < 1e38:
        assert checkpoints.save("mine", net, {}, folder=tmp_path, dtype=torch.bfloat16).exists()


def test_a_statistic_that_is_not_finite_is_a_weight_too(tmp_path):
    net = SmallClassifier(width=4)
    net.body[1].running_var.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"body\.1\.running_var of mine is not finite"):
        checkpoints.save("mine", net, {}, folder=tmp_path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])  # which round all to zero, or stop at 448
def test_weights_are_not_stored_in_a_type_that_changes_them(dtype, tmp_path):
    with pytest.raises(ValueError, match=f"in float32, bfloat16 or float16, got {dtype}"):
        checkpoints.save("mine", SmallEnergy(width=4), {}, folder=tmp_path, dtype=dtype)


def test_a_card_has_plain_numbers(tmp_path):
    told = {"metrics": {"a": {"value": np.float32(0.5), "images": np.int64(3)}, "b": {"value": torch.tensor(2.0)}}}
    checkpoints.save("mine", SmallEnergy(width=4), {**told, "seconds": np.float64(7)}, folder=tmp_path)
    card = checkpoints.load("mine", folder=tmp_path).card
    assert card["metrics"] == {"a": {"value": 0.5, "images": 3}, "b": {"value": 2.0}} and card["seconds"] == 7
    again = checkpoints.rewrite_card("mine", {"metrics": {"a": {"value": np.float32(0.25)}}}, folder=tmp_path)
    assert again == checkpoints.read_card("mine", folder=tmp_path) and again["metrics"]["a"]["value"] == 0.25


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), torch.tensor(float("nan"))])
def test_a_card_keeps_no_number_that_was_not_measured(value, tmp_path):
    metrics = {"distance": {"value": value, "interval": [0.0, 1.0]}}
    with pytest.raises(ValueError, match=r"metrics\.distance\.value on the card of mine is (nan|inf); leave out"):
        checkpoints.save("mine", SmallEnergy(width=4), {"metrics": metrics}, folder=tmp_path)
    checkpoints.save("mine", SmallEnergy(width=4), {}, folder=tmp_path)
    with pytest.raises(ValueError, match=r"metrics\.distance\.value"):
        checkpoints.rewrite_card("mine", {"metrics": metrics}, folder=tmp_path)
    assert "metrics" not in checkpoints.read_card("mine", folder=tmp_path)


def test_what_json_cannot_hold_is_said_of_the_card(tmp_path):
    with pytest.raises(TypeError, match="a card holds numbers, strings, lists and dictionaries; that of mine"):
        checkpoints.save("mine", SmallEnergy(width=4), {"data": {1, 2}}, folder=tmp_path)
    assert not list(tmp_path.iterdir())
