import pytest
import torch
from torch import nn

from gen_utils.evaluation.frechet import extract_features, frechet_distance
from gen_utils.models import SmallClassifier


def gaussian(n, d, seed):
    stream = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=stream, dtype=torch.float64)
    return torch.randn(n, d, generator=stream, dtype=torch.float64) @ mix + torch.randn(d, generator=stream)


def test_agrees_with_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Same(nn.Module):
        num_features = 6

        def forward(self, x):
            return x.flatten(1).double()

    a, b = gaussian(400, 6, 0), gaussian(300, 6, 1)
    reference = FrechetInceptionDistance(feature=Same(), normalize=True, input_img_size=(1, 2, 3)).set_dtype(
        torch.float64
    )
    reference.update(a.reshape(-1, 1, 2, 3), real=True)
    reference.update(b.reshape(-1, 1, 2, 3), real=False)
    assert frechet_distance(a, b) == pytest.approx(float(reference.compute()), rel=1e-4)


def test_exact_for_known_moments():
    """Two samples whose moments are set exactly: the distance has a closed form for diagonal covariances."""
    x = gaussian(1000, 3, 0)
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T  # exactly white
    a, b = x * torch.tensor([1.0, 2.0, 3.0]), x * torch.tensor([2.0, 2.0, 1.0]) + torch.tensor([0.0, 0.0, 5.0])
    assert frechet_distance(a, b) == pytest.approx(25 + 1 + 0 + 4, rel=1e-9)


def test_zero_for_the_same_and_symmetric():
    a, b = gaussian(200, 5, 2), gaussian(200, 5, 3)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_fewer_rows_than_features_is_still_finite():
    a, b = gaussian(10, 50, 4), gaussian(10, 50, 5)
    assert 0 < frechet_distance(a, b) < float("inf")


@pytest.mark.parametrize("bad", [torch.zeros(5, 3), torch.zeros(1, 4), torch.full((5, 4), float("nan"))])
def test_bad_features_are_refused(bad):
    with pytest.raises(ValueError, match="features"):
        frechet_distance(torch.randn(5, 4), bad)


def test_features_are_taken_in_eval_mode_and_the_mode_comes_back():
    net = SmallClassifier().train()
    images = torch.randint(0, 256, (7, 1, 28, 28), dtype=torch.uint8)
    mean_before = net.body[1].running_mean.clone()
    one, many = extract_features(net, images, batch_size=2), extract_features(net, images)
    assert net.training and torch.equal(net.body[1].running_mean, mean_before)
    assert torch.allclose(one, many, atol=1e-5) and not one.requires_grad
