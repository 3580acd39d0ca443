"""The cards' figures, measured again from the weights that ship."""

import pytest
import torch

from gen_utils import checkpoints
from gen_utils.base.identity import identity
from gen_utils.evaluation.frechet import extract_features, frechet_distance
from gen_utils.shipped import measures
from gen_utils.shipped.compare import compare, measure
from gen_utils.shipped.draws import labels_asked
from gen_utils.shipped.figure import Figure, frechet_of
from gen_utils.shipped.pictures import draw
from gen_utils.shipped.registry import MODELS

FEW = {"cifar_classifier": 1000, "vaebm_faces": 520}  # at least twice the features


def card(**metrics):
    return {"metrics": metrics}


def test_a_figure_that_chance_explains_agrees_and_another_differs():
    found = {"accuracy": Figure(0.95, (0.93, 0.965), {"images": 500})}
    assert compare(card(accuracy={"value": 0.96, "images": 10_000}), found)[0]["agrees"]
    assert compare(card(accuracy={"value": 0.99, "images": 10_000}), found)[0]["agrees"] is False
    assert compare(card(), found)[0]["agrees"] is None


def test_a_figure_without_chance_agrees_to_its_last_digit_only():
    found = {"perplexity": Figure(171.1, None, {"images": 10_000})}
    assert compare(card(perplexity={"value": 171.2, "images": 10_000}), found)[0]["agrees"]
    assert compare(card(perplexity={"value": 180.0, "images": 10_000}), found)[0]["agrees"] is False


def test_a_small_figure_is_held_to_its_size():
    """An error of 0.004 that grew by a quarter is no rounding."""
    found = {"mse": Figure(0.005, (0.00499, 0.00501), {"images": 10_000})}
    assert compare(card(mse={"value": 0.004, "images": 10_000}), found)[0]["agrees"] is False


def test_a_frechet_distance_of_few_images_is_brought_to_the_cards_number():
    """Two sources 0.2 apart in each of 40 dimensions: 1.6, and a bias that 200 images make plain."""
    stream = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(n, 40, generator=stream) + shift for n, shift in ((20_000, 0.0), (200, 0.2)))
    found = frechet_of(real, fake, {})
    assert found.value == pytest.approx(frechet_distance(real, fake)) and found.value > 2.5
    rows = compare(card(d={"value": 1.6, "images": 20_000}), {"d": found})
    assert abs(rows[0]["now"] - 1.6) < 0.3 * abs(found.value - 1.6) and rows[0]["agrees"]


def test_an_entry_is_what_a_card_holds():
    entry = Figure(12.345678, (11.0, 14.00001), {"features": "digit_classifier", "images": 2000}).entry()
    assert entry == {"value": 12.35, "interval_95": [11.0, 14.0], "features": "digit_classifier", "images": 2000}


def test_labels_go_round():
    assert labels_asked(23).tolist() == [*range(10), *range(10), 0, 1, 2]


def test_an_unknown_model_is_told():
    with pytest.raises(FileNotFoundError, match="known"):
        measure("nobody")
    judge = checkpoints.load("digit_classifier")
    with pytest.raises(ValueError, match="draws no pictures"):
        draw(judge, 2)


def test_every_shipped_model_can_be_measured_and_all_but_judges_draw():
    for name in checkpoints.names():
        row, card = MODELS[name], checkpoints.read_card(name)
        assert row.network.__name__ == card["model"] and (row.part is None or row.part == card["part"])
        assert (row.draw is None) == (row.part is None) == (row.train is not None)
        assert row.judge is None or MODELS[row.judge].part is None


@pytest.fixture(scope="module")
def features_once():
    """Four models are held against the same thousands of real digits: a judge looks at them once."""
    known = {}

    def features(network, images):
        asked = identity([network, getattr(images, "images", images)])
        if asked not in known:
            known[asked] = extract_features(network, images)
        return known[asked]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "extract_features", features)
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("features_once")
@pytest.mark.parametrize("name", checkpoints.names())
def test_a_small_sample_agrees_with_the_card(name, real_root):
    """Draws of its own seed: chance must explain the difference, and a broken or exchanged model is far off."""
    rows = compare(checkpoints.read_card(name), measure(name, str(real_root), images=FEW.get(name, 300), chains=False))
    assert rows and any(row["agrees"] for row in rows)
    assert all(row["agrees"] is not False for row in rows), rows
