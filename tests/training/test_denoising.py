"""Training by denoising: it learns, and its averaged weights follow. (That it resumes: test_resuming.)"""

import pytest
import torch

from gen_utils.data import ImageSet
from gen_utils.models import EnergyUNet, ScoreUNet
from gen_utils.training import FitConfig, fit
from gen_utils.training.denoising import DenoisingConfig, DenoisingTraining


def rows(n=64):
    """Four pictures: one white row each."""
    pixels = torch.zeros(n, 1, 4, 4, dtype=torch.uint8)
    pixels[torch.arange(n), 0, torch.arange(n) % 4] = 255
    return ImageSet(pixels, None, (), "rows", "rows")


def training(kind=ScoreUNet, **settings):
    torch.manual_seed(0)
    return DenoisingTraining(kind(1, 4, 8), DenoisingConfig(warmup=5, lr=5e-3, **settings))


@pytest.mark.parametrize("kind", [ScoreUNet, EnergyUNet])
def test_logs_and_learns(kind, tmp_path):
    config = FitConfig(40, batch_size=16, run_dir=tmp_path, validate_every=20, log_every=1)
    run = fit(training(kind), rows(), rows(16), config=config)
    loss, validation = run.curve("loss")[1], run.curve("val_loss")[1]
    assert sum(loss[-10:]) < 0.8 * sum(loss[:10])
    assert validation[1] < validation[0]
    assert run.curve("lr")[1][-1] < 0.01 * max(run.curve("lr")[1])


def test_the_average_starts_with_a_short_memory_and_wants_no_gradient():
    module = training(average=500)
    moved = {name: weight.clone() for name, weight in module.model.named_parameters()}
    with torch.no_grad():
        for weight in module.model.parameters():
            weight.add_(1.0)
    module.on_train_batch_end()  # before the first step: memory one, the weights themselves
    for name, weight in module.averaged.named_parameters():
        assert torch.allclose(weight, moved[name] + 1) and not weight.requires_grad


@pytest.mark.parametrize("settings", [{"lr": 0.0}, {"level_spread": 0.0}, {"average": 0}, {"warmup": -1}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        DenoisingConfig(**settings)


def test_a_network_with_classes_gets_the_labels_of_the_data(tmp_path):
    """The pictures' class is their white row: told it, even pure noise is denoised to the right row."""
    labelled = ImageSet(rows().images, torch.arange(64) % 4, ("a", "b", "c", "d"), "rows", "rows")
    torch.manual_seed(0)
    module = DenoisingTraining(ScoreUNet(1, 4, 8, n_classes=4), DenoisingConfig(warmup=5, lr=5e-3, level_mean=1.0))
    config = FitConfig(150, batch_size=32, run_dir=tmp_path, log_every=10)
    network = fit(module, labelled, config=config).module.averaged
    noise = 10 * torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(64) % 4
    drawn = network.given(labels).denoise(noise, 10.0).mean((1, 3)).argmax(1)
    assert (drawn == labels).float().mean() > 0.9
    with pytest.raises(ValueError, match="has none"):
        fit(module, rows(), config=FitConfig(1, run_dir=tmp_path / "other"))
