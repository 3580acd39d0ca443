"""Mixed precision: every module trains, with the losses of float32 up to its networks' rounding, or is refused."""

import pytest
import torch
from training.modules import MODULES, made

from gen_utils.training import FitConfig, fit

LOSS = {"prior": "nll"} | dict.fromkeys(("game", "clipped", "penalty", "pairs", "auto-encoder"), "critic_loss")


def losses(kind, precision, folder):
    module, images = made(kind)
    val = images if "vae" not in kind and kind not in LOSS else None
    config = FitConfig(2, batch_size=20, precision=precision, run_dir=folder / precision, log_every=1, validate_every=2)
    run = fit(module, images, val, config=config)
    assert all(value.dtype != torch.bfloat16 for value in module.state_dict().values())
    return run.curve(LOSS.get(kind, "loss"))[1]


@pytest.mark.parametrize("kind", MODULES)
def test_every_module_trains_in_mixed_precision(kind, tmp_path):
    whole, mixed = losses(kind, "32-true", tmp_path), losses(kind, "bf16-mixed", tmp_path)
    assert mixed == pytest.approx(whole, rel=0.01, abs=1e-3)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "16-mixed", "transformer-engine", "bf16", 32])
def test_what_is_not_supported_is_refused_by_name(precision):
    with pytest.raises(ValueError, match=rf'precision is "32-true" or "bf16-mixed", got {precision!r}'):
        FitConfig(1, precision=precision)


def test_a_vqvae_in_mixed_precision_is_judged_by_the_nearest_codes(tmp_path):
    module, images = made("vqvae")
    config = FitConfig(4, batch_size=20, precision="bf16-mixed", run_dir=tmp_path, validate_every=4)
    seen = []
    module.model.quantizer.register_forward_hook(lambda layer, given, out: seen.append((given[0], *out)))
    codebooks = []
    module.model.quantizer.register_forward_pre_hook(lambda layer, given: codebooks.append(layer.codebook.clone()))
    fit(module, images, config=config)
    for codebook, (z, _, tokens) in list(zip(codebooks, seen, strict=True))[1:]:  # the first one makes the codebook
        rows = z.detach().movedim(1, -1).flatten(0, -2).double()
        nearest = (rows[:, None] - codebook.double()).square().sum(2).argmin(1)
        assert z.dtype == torch.bfloat16 and torch.equal(tokens.flatten(), nearest)
