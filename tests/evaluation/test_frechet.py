import pytest
import torch
from torch import nn

from gen_utils.evaluation.feature_networks import NETWORKS, feature_network
from gen_utils.evaluation.frechet import extract_features, frechet_distance, frechet_interval, image_distances
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


def test_never_below_zero_and_the_same_far_from_the_origin():
    for seed in range(20):
        x = gaussian(30, 20, seed)
        assert 0 <= frechet_distance(x, x) < 1e-6
    a, b = gaussian(200, 5, 2), gaussian(200, 5, 3)
    assert frechet_distance(a + 1e8, b + 1e8) == pytest.approx(frechet_distance(a, b), rel=1e-5)
    assert frechet_distance(a.half(), b.half()) == pytest.approx(frechet_distance(a, b), rel=0.01)


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


def test_the_bias_falls_as_one_over_n():
    """Two sets from one Gaussian are at distance 0; the estimate is above it, and half as much for twice the rows."""
    means = []
    for n in (100, 200):
        found = [
            frechet_distance(*torch.randn(2, n, 8, generator=torch.Generator().manual_seed(1000 * n + i)))
            for i in range(40)
        ]
        means.append(sum(found) / len(found))
    assert means[0] / means[1] == pytest.approx(2, rel=0.15)  # 40 runs: the ratio's standard error is about 5 %


def test_the_interval_takes_the_bias_out():
    """The true distance of N(0, I) and N(μ, I) is ‖μ‖²; with d = 16 and N = 150 the bias is larger than the spread."""
    shift = torch.zeros(16)
    shift[0] = 1.0
    covered, estimates, trials = 0, [], 20
    for i in range(trials):
        a, b = torch.randn(2, 150, 16, generator=torch.Generator().manual_seed(i))
        low, high = frechet_interval(a, b + shift, n=60, seed=i)
        covered += low <= 1.0 <= high
        estimates.append(frechet_distance(a, b + shift))
    assert sum(estimates) / trials > 1.3  # the estimate itself is too high …
    assert covered >= 13  # … and the interval is not: a 95 % one would miss 1 in 20, an uncorrected one nearly all


def faces(n, seed=0):
    return torch.randint(0, 256, (n, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def digits(n, seed=0):
    return torch.randint(0, 256, (n, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_image_distances_agree_with_the_plain_functions_and_say_what_they_are():
    from gen_utils.evaluation.kernel_distance import kernel_distance

    real, fake = digits(140), digits(140, 1) // 2
    state = torch.get_rng_state()
    found = image_distances("digit_classifier", real, fake, resamples=5)
    assert torch.equal(state, torch.get_rng_state())
    a, b = (extract_features(feature_network("digit_classifier"), x) for x in (real, fake))
    assert found.frechet == pytest.approx(frechet_distance(a, b), rel=1e-6)
    assert found.kernel == pytest.approx(kernel_distance(a, b), rel=1e-6)
    assert "digit_classifier" in found.label and "128" in found.label and "140" in found.label
    low, high = found.kernel_interval
    assert low < found.kernel < high
    assert image_distances("digit_classifier", real, fake, resamples=0).frechet_interval is None


def test_floats_and_bytes_are_one():
    from gen_utils.data import to_float

    net, images = feature_network("digit_classifier"), digits(5)
    assert torch.allclose(net(images), net(to_float(images)))


def test_too_few_images_are_told_how_many_it_takes():
    with pytest.raises(ValueError, match="at least 129"):
        image_distances("digit_classifier", digits(128), digits(200))
    loose = image_distances("digit_classifier", digits(20), digits(20, 1), resamples=0, strict=False)
    assert loose.frechet > 0


@pytest.mark.parametrize(
    ("images", "said"),
    [(digits(3), "takes images"), (faces(3)[:, :, :32, :32], "takes images"), (faces(3).float(), r"\[-1, 1\]")],
)
def test_images_of_another_shape_or_scale_are_refused(images, said):
    with pytest.raises(ValueError, match=said):
        feature_network("face_features")(images)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "inception"])
def test_the_networks_are_the_ones_the_hashes_name_and_stay_frozen(name):
    net = feature_network(name).train()
    known = NETWORKS[name]
    x = torch.randint(0, 256, (2, *known.takes), dtype=torch.uint8)
    assert not any(m.training for m in net.modules()) and not any(p.requires_grad for p in net.parameters())
    assert net(x).shape == (2, known.n_features) == (2, net.num_features)
    assert not net(x.float() / 127.5 - 1).requires_grad


def test_another_network_under_the_name_is_refused(monkeypatch):
    from gen_utils.evaluation import feature_networks

    changed = {**NETWORKS, "digit_classifier": feature_networks.Known((1, 28, 28), 128, "0" * 64)}
    monkeypatch.setattr(feature_networks, "NETWORKS", changed)
    with pytest.raises(ValueError, match="not the network"):
        feature_network("digit_classifier")


def test_an_unknown_network_lists_the_known_ones():
    with pytest.raises(ValueError, match="name must be one of 'digit_classifier'"):
        feature_network("vgg")


def test_missing_inception_says_what_to_do_and_fetches_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("GEN_INCEPTION", str(tmp_path / "none.pth"))
    with pytest.raises(FileNotFoundError, match="torch-fidelity"):
        feature_network("inception")


def test_a_network_without_features_is_refused():
    with pytest.raises(ValueError, match="Linear has no features"):
        extract_features(nn.Linear(2, 2), torch.zeros(3, 1, 28, 28))
