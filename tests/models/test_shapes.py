"""Networks say what they take, where torch would fail inside a layer or, worse, go on."""

import pytest
import torch

from gen_utils.models import (
    MLPVAE,
    VQVAE,
    AutoencoderEnergy,
    ConditionalEnergy,
    ConvVAE,
    Critic,
    FaceFeatures,
    Generator,
    GumbelVAE,
    LabelInputEnergy,
    ResidualEnergy,
    ResNetClassifier,
    SmallClassifier,
    SmallEnergy,
    SmoothClassifier,
    StridedEnergy,
    TenLayerEnergy,
    TokenPrior,
)
from gen_utils.models.shapes import fits

SIZED = {
    "small": lambda: SmallEnergy(width=4),
    "conditional": lambda: ConditionalEnergy(width=4).class_energies,
    "label as input": lambda: LabelInputEnergy(width=4).class_energies,
    "smooth": lambda: SmoothClassifier(width=4),
    "its features": lambda: SmoothClassifier(width=4).features,
    "strided": lambda: StridedEnergy(1, 16, widths=(4, 4)),
    "ten layers": lambda: TenLayerEnergy(1, 16, width=4),
    "critic": lambda: Critic(width=4),
    "auto-encoder": lambda: AutoencoderEnergy(width=4),
    "faces": lambda: FaceFeatures(8, width=4).eval(),
    "dense vae": lambda: MLPVAE((1, 28, 28), hidden=(4,)).posterior,
    "vae": lambda: ConvVAE((1, 16, 16), 2, (4, 4)).eval().posterior,
}
SIDES = {"strided": 16, "ten layers": 16, "vae": 16, "faces": 64}
ANY_SIZE = {
    "classifier": lambda: SmallClassifier(width=4).eval(),
    "residual classifier": lambda: ResNetClassifier(1, widths=(4,)).eval(),
    "residual energy": lambda: ResidualEnergy(1, 16, width=4, blocks=1),
    "vqvae": lambda: VQVAE(width=4, n_blocks=0, init="normal").eval().tokens,
    "gumbel": lambda: GumbelVAE(width=4, n_blocks=0).eval().tokens,
}


@pytest.mark.parametrize("name", SIZED)
def test_images_of_another_size_are_refused(name):
    network, channels, side = SIZED[name](), 3 if name == "faces" else 1, SIDES.get(name, 28)
    network(torch.zeros(2, channels, side, side))
    for shape in ((side + 4, side + 4), (side - 1, side - 1), (side, side + 1)):
        with pytest.raises(ValueError, match=rf"takes images \(B, {channels}, {side}, {side}\), got \(2, {channels}, "):
            network(torch.zeros(2, channels, *shape))
    with pytest.raises(ValueError, match=rf"got \(2, {4 - channels}, {side}, {side}\)"):
        network(torch.zeros(2, 4 - channels, side, side))
    with pytest.raises(ValueError, match=rf"got \({channels}, {side}, {side}\)"):  # one image is not a batch
        network(torch.zeros(channels, side, side))


@pytest.mark.parametrize("name", ANY_SIZE)
def test_another_number_of_channels_is_refused_where_any_size_will_do(name):
    network = ANY_SIZE[name]()
    for side in (16, 32):
        network(torch.zeros(2, 1, side, side))
    with pytest.raises(ValueError, match=r"takes images \(B, 1, any, any\), got \(2, 3, 16, 16\)"):
        network(torch.zeros(2, 3, 16, 16))


@pytest.mark.parametrize("name", ["vqvae", "gumbel"])
def test_sides_that_four_does_not_divide_are_refused(name):
    with pytest.raises(ValueError, match=r"4 must divide their sides, got \(2, 1, 30, 30\)"):
        ANY_SIZE[name]()(torch.zeros(2, 1, 30, 30))


def test_inputs_and_codes_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"takes inputs \(B, 7\), got \(2, 4\)"):
        Generator(latent_dim=4, width=4, n_classes=3)(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"takes codes \(B, 6\), got \(2, 5\)"):
        MLPVAE((1, 4, 4), latent=6).likelihood(torch.zeros(2, 5))


def test_a_part_of_a_grid_is_not_judged_as_the_whole():
    prior = TokenPrior(4, (3, 3), width=8, n_layers=1, n_heads=2)
    with pytest.raises(ValueError, match=r"takes tokens \(B, 3, 3\), got \(2, 2, 2\)"):
        prior.log_prob(torch.zeros(2, 2, 2, dtype=torch.int64))


def test_what_fits():
    assert fits((1, 28, 28), (1, None, 28)) and fits([], ())
    assert not fits((1, 28), (1, 28, 28)) and not fits((3, 28, 28), (1, None, None))
