"""Networks only: no training, no data. Each keeps its constructor's arguments in ``config``."""

from .analytic import Banana, DoubleWell, Gaussian, GaussianMixture, Ring, eight_gaussians
from .classifier import SmallClassifier
from .conditional_energy import ConditionalEnergy
from .energy import SmallEnergy
from .residual_energy import ResidualEnergy, ResNet18Energy
from .resnet import ResNetClassifier
from .strided_energy import StridedEnergy
from .ten_layer_energy import TenLayerEnergy
from .token_prior import TokenPrior
from .vqvae import VQVAE, GumbelVAE

__all__ = [
    "VQVAE",
    "Banana",
    "ConditionalEnergy",
    "DoubleWell",
    "Gaussian",
    "GaussianMixture",
    "GumbelVAE",
    "ResNet18Energy",
    "ResNetClassifier",
    "ResidualEnergy",
    "Ring",
    "SmallClassifier",
    "SmallEnergy",
    "StridedEnergy",
    "TenLayerEnergy",
    "TokenPrior",
    "eight_gaussians",
]
