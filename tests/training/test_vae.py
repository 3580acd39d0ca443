"""Training a VAE: what it logs, that it learns, and that its two objectives are one up to a factor."""

import pytest
import torch

from gen_utils.data import ImageSet
from gen_utils.models import MLPVAE
from gen_utils.training import FitConfig, VAETraining, fit, implied_sigma


def images(n: int = 64) -> ImageSet:
    """Black images with one white row: four different ones."""
    pixels = torch.zeros(n, 1, 4, 4, dtype=torch.uint8)
    pixels[torch.arange(n), 0, torch.arange(n) % 4] = 255
    return ImageSet(pixels, None, (), "rows", "rows")


def model(**settings) -> MLPVAE:
    torch.manual_seed(0)
    return MLPVAE((1, 4, 4), latent=2, hidden=(16, 16), **settings)


def test_logs_and_learns(tmp_path):
    run = fit(
        VAETraining(model(), dequantised=False, lr=2e-2),
        images(),
        images(12),
        config=FitConfig(150, batch_size=16, run_dir=tmp_path, validate_every=50, log_every=1),
    )
    for name in ("loss", "reconstruction", "kl", "mse", "sigma", "val_loss", "val_reconstruction", "val_kl"):
        assert name in run.history, name
    assert len(run.curve("val_loss")[0]) == 3
    loss = run.curve("loss")[1]
    assert sum(loss[-10:]) < 0.7 * sum(loss[:10])
    total = torch.tensor(run.curve("reconstruction")[1]) + torch.tensor(run.curve("kl")[1])
    torch.testing.assert_close(total, torch.tensor(loss), rtol=1e-4, atol=1e-3)


def test_a_calibrated_sigma_follows_the_error(tmp_path):
    training = VAETraining(model(likelihood="gaussian", sigma="calibrated"), lr=1e-2)
    run = fit(training, images(), config=FitConfig(80, batch_size=16, run_dir=tmp_path, log_every=1))
    mse = torch.tensor(run.curve("mse")[1][-50:]).mean()
    assert training.model.pixels.sigma.square().item() == pytest.approx(mse.item(), rel=0.3)
    assert run.curve("mse")[1][-1] < 0.7 * run.curve("mse")[1][0]


def test_beta_in_front_of_a_mean_squared_error_is_a_noise_level():
    """The gradients of MSE + β KL and of the ELBO with the implied σ point the same way."""
    beta = 0.05
    sigma = implied_sigma(beta, 16)
    assert sigma == pytest.approx((beta * 16 / 2) ** 0.5)
    gradients = []
    for objective, weight, s in (("mse", beta, 1.0), ("elbo", 1.0, sigma)):
        training = VAETraining(model(likelihood="gaussian", sigma=s), beta=weight, objective=objective)
        torch.manual_seed(1)
        training.terms(images(8).images)["loss"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in training.model.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1] * 2 * sigma**2 / 16, rtol=1e-3, atol=1e-6)


def test_the_unit_of_the_squared_error_is_said_and_is_a_factor_of_beta():
    """In [0, 1] the error is a quarter, so the same β weighs four times as much; the implied σ is in that unit."""
    gradients = []
    for beta, pixel_range in ((0.05, (0.0, 1.0)), (0.2, (-1.0, 1.0))):
        training = VAETraining(model(likelihood="gaussian"), beta=beta, objective="mse", pixel_range=pixel_range)
        torch.manual_seed(1)
        terms = training.terms(images(8).images)
        terms["loss"].backward()
        share = 0.25 if pixel_range == (0.0, 1.0) else 1.0
        assert terms["reconstruction"].item() == pytest.approx(share * terms["mse"].item())
        assert terms["loss"].item() == pytest.approx((terms["reconstruction"] + beta * terms["kl"]).item())
        gradients.append(torch.cat([p.grad.flatten() for p in training.model.parameters()]) / share)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)
    # The same network with a sigmoid, by hand.
    x, network = torch.rand(3, 1, 4, 4), model(likelihood="gaussian")
    out = network.decoder(torch.zeros(3, 2))
    by_tanh = (network.likelihood(torch.zeros(3, 2)).mean - (2 * x - 1)).square().mean() / 4
    torch.testing.assert_close((torch.sigmoid(2 * out) - x).square().mean(), by_tanh)
    for wrong, message in (((1.0, 0.0), "black below white"), ((0.0, float("inf")), "black below white")):
        with pytest.raises(ValueError, match=message):
            VAETraining(model(likelihood="gaussian"), objective="mse", pixel_range=wrong)
    with pytest.raises(ValueError, match="belongs to objective"):
        VAETraining(model(likelihood="gaussian"), pixel_range=(0.0, 1.0))


def test_bad_arguments():
    with pytest.raises(ValueError, match='objective is "elbo"'):
        VAETraining(model(), objective="l1")
    for beta, n_dims in ((0.0, 4), (1.0, 0)):
        with pytest.raises(ValueError, match="must be positive"):
            implied_sigma(beta, n_dims)


def test_binarised_pixels_are_drawn_anew_with_the_probability_of_their_grey_level(monkeypatch):
    training = VAETraining(model(), dequantised=False, binarised=True).train()
    monkeypatch.setattr(training, "log_dict", lambda *args, **kwargs: None)
    seen = []
    terms = training.terms
    monkeypatch.setattr(training, "terms", lambda images: seen.append(images) or terms(images))
    torch.manual_seed(0)
    grey = torch.full((2000, 1, 4, 4), 64, dtype=torch.uint8)
    for _ in range(2):
        training.training_step((grey,), 0)
    fixed = seen[0].clone()
    training.validation_step((fixed,), 0)
    assert all(set(batch.unique().tolist()) == {0, 255} for batch in seen[:2]) and (seen[0] != seen[1]).any()
    # 32,000 draws: the standard error of the share is below 0.0025.
    assert all(abs((batch == 255).float().mean().item() - 64 / 255) < 0.01 for batch in seen[:2])
    assert torch.equal(seen[2], fixed)  # validation compares like with like
    with pytest.raises(ValueError, match="either dequantised or binarised"):
        VAETraining(model(), binarised=True)
