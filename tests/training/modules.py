"""One small module of each kind with images that it can learn from, for the tests that want them all."""

from dataclasses import replace

import torch

from gen_utils.data import ImageSet, load_images
from gen_utils.models import (
    MLPVAE,
    VAEBM,
    VQVAE,
    AutoencoderEnergy,
    ConditionalEnergy,
    Critic,
    EnergyUNet,
    Generator,
    GumbelVAE,
    ScoreUNet,
    SmallClassifier,
    SmallEnergy,
    TokenPrior,
)
from gen_utils.samplers import Langevin
from gen_utils.training import (
    ClassifierTraining,
    EBMConfig,
    EBMTraining,
    GumbelTraining,
    TokenPriorTraining,
    VAETraining,
    VQVAETraining,
)
from gen_utils.training.denoising import DenoisingConfig, DenoisingTraining
from gen_utils.training.gan import (
    EnergyBased,
    GANConfig,
    GANTraining,
    NonSaturating,
    Relativistic,
    Wasserstein,
    WassersteinGP,
)
from gen_utils.training.jem import JEMConfig, JEMTraining
from gen_utils.training.vaebm import VAEBMConfig, VAEBMTraining

N = 60  # images
CHAIN = dict(kernel=Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0)), n_steps=2, capacity=64)
CODES = dict(n_codes=8, code_dim=4, width=8, n_blocks=1)


def digits():
    return load_images("digits", limit=N)


def black_and_white():
    images = digits()
    return replace(images, images=(images.images > 127).to(torch.uint8) * 255)


def tokens():
    grids = torch.randint(8, (N, 1, 7, 7), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return ImageSet(grids, None, (), "tokens", "tokens")


def vae(likelihood="gaussian", sigma=0.1, **settings):
    settings = {"dequantised": likelihood == "gaussian", **settings}
    return VAETraining(MLPVAE((1, 28, 28), 2, (16, 16), likelihood, sigma), **settings)


def game(objective, critic=None):
    generator = Generator(latent_dim=4, width=4)
    return GANTraining(generator, Critic(width=4) if critic is None else critic, GANConfig(objective))


def on_a_vae():
    joint = VAEBM(MLPVAE((1, 28, 28), 2, (16, 16), sigma=0.1, likelihood="gaussian"), SmallEnergy(width=4))
    return VAEBMTraining(joint, VAEBMConfig(n_steps=2, spectral=0.1))


MODULES = {
    "ebm": (lambda: EBMTraining(SmallEnergy(width=4), EBMConfig(**CHAIN)), digits),
    "conditional": (lambda: EBMTraining(ConditionalEnergy(width=4), EBMConfig(classify=1.0, **CHAIN)), digits),
    "jem": (lambda: JEMTraining(SmallClassifier(width=4), JEMConfig(n_steps=2, capacity=64), (1, 28, 28)), digits),
    "classifier": (lambda: ClassifierTraining(SmallClassifier(width=4)), digits),
    "vqvae": (lambda: VQVAETraining(VQVAE(**CODES)), digits),
    "gumbel": (lambda: GumbelTraining(GumbelVAE(**CODES)), digits),
    "prior": (lambda: TokenPriorTraining(TokenPrior(8, (7, 7), width=8, n_layers=1, n_heads=2, dropout=0.0)), tokens),
    "vae, gaussian": (lambda: vae(sigma="calibrated"), digits),
    "vae, levels": (lambda: vae("discretised_logistic", "learnt"), digits),
    "vae, bernoulli": (lambda: vae("bernoulli"), black_and_white),
    "game": (lambda: game(NonSaturating()), digits),
    "clipped": (lambda: game(Wasserstein(critic_steps=2)), digits),
    "penalty": (lambda: game(WassersteinGP(critic_steps=2)), digits),
    "pairs": (lambda: game(Relativistic()), digits),
    "auto-encoder": (lambda: game(EnergyBased(), AutoencoderEnergy(width=4, code_dim=4)), digits),
    "vaebm": (on_a_vae, digits),
    "denoiser": (lambda: DenoisingTraining(ScoreUNet(width=8), DenoisingConfig()), digits),
    "denoising energy": (lambda: DenoisingTraining(EnergyUNet(width=8), DenoisingConfig()), digits),
}


def made(kind):
    """The module of a kind from seed 0, and its images."""
    make, images = MODULES[kind]
    torch.manual_seed(0)
    return make(), images()
