"""The shipped judge of faces puts known damage in order, on the built-in faces that every machine has."""

import itertools

import pytest
import torch

from gen_utils.data import load_images
from gen_utils.evaluation.corruptions import CORRUPTIONS, distances_under_damage
from gen_utils.evaluation.feature_networks import feature_network
from gen_utils.evaluation.frechet import extract_features, frechet_distance


@pytest.fixture(scope="module")
def curves():
    """Distances at strengths 0 to 1 by damage; at strength 0 that of real faces from other real ones."""
    judge, faces = feature_network("face_features"), load_images("avatars", limit=500).images
    real = extract_features(judge, faces[:300])
    measure = lambda x: frechet_distance(real, extract_features(judge, x))  # noqa: E731
    found = distances_under_damage(measure, faces[300:], strengths=(0.3, 0.6, 1.0))
    undamaged = measure(faces[300:])
    return {name: [undamaged, *values] for name, values in found.items()}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_more_damage_is_further_away(curves, name):
    values = curves[name]
    assert all(a < b for a, b in itertools.pairwise(values)), values
    assert values[-1] > 2 * values[0]  # total damage is not within reach of chance


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_zero_changes_nothing_and_pictures_stay_pictures(name):
    x = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = CORRUPTIONS[name](x, 0.0, torch.Generator().manual_seed(0))
    assert torch.allclose(whole.sort(0)[0], x.sort(0)[0], atol=1e-5)  # one of them orders the images anew
    out = CORRUPTIONS[name](x, 1.0, torch.Generator().manual_seed(0))
    assert out.shape == x.shape and out.abs().max() <= 1 + 1e-5 and not torch.allclose(out, x, atol=0.01)


def test_one_strength_an_image():
    x = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    strength = torch.tensor([0.0, 0.0, 1.0, 1.0])
    for name in ("blur", "noise", "averages of two", "patchwork of two", "missing parts", "tint", "checkerboard"):
        changed = (CORRUPTIONS[name](x, strength, torch.Generator().manual_seed(1)) - x).abs().flatten(1).amax(1)
        assert (changed[:2] < 1e-5).all() and (changed[2:] > 0.01).all(), name


def test_on_bitmoji_it_orders_damage_and_sees_more_than_the_colour_classifier(real_root):
    """350 held-out faces against 500 others; the classifier's 256 features at 32×32 are the alternative."""
    from torch.nn import functional as F

    from gen_utils.data import to_float, to_uint8

    faces = load_images("bitmoji", "train", root=real_root, limit=500, stand_in=False).images
    held_out = load_images("bitmoji", "test", root=real_root, stand_in=False).images
    ratios = {}
    for name, prepare, strengths in (
        ("face_features", lambda x: x, (0.3, 1.0)),
        ("cifar_classifier", lambda x: to_uint8(F.avg_pool2d(to_float(x), 2)), (0.3,)),
    ):
        judge = feature_network(name)
        real = extract_features(judge, prepare(faces))
        measure = lambda x, j=judge, p=prepare, r=real: frechet_distance(r, extract_features(j, p(x)))  # noqa: E731
        found, undamaged = distances_under_damage(measure, held_out, strengths=strengths), measure(held_out)
        ratios[name] = {kind: [value / undamaged for value in values] for kind, values in found.items()}
    mine, other = ratios["face_features"], ratios["cifar_classifier"]
    assert all(1 < values[0] < values[1] for values in mine.values()), mine
    assert sum(mine[kind][0] > other[kind][0] for kind in mine) >= 6, ratios
