"""Networks only: no training, no data. Each keeps its constructor's arguments in ``config``."""

from .analytic import Banana, DoubleWell, Gaussian, GaussianMixture, Ring, eight_gaussians
from .classifier import SmallClassifier
from .conditional_energy import ConditionalEnergy
from .energy import SmallEnergy
from .joint_energy import JointEnergy
from .linear_gaussian import LinearGaussianVAE
from .residual_energy import ResidualEnergy, ResNet18Energy
from .resnet import ResNetClassifier
from .smooth_classifier import SmoothClassifier
from .strided_energy import StridedEnergy
from .ten_layer_energy import TenLayerEnergy
from .token_prior import TokenPrior
from .vae import MLPVAE, ConvVAE
from .vqvae import VQVAE, GumbelVAE

__all__ = [
    "MLPVAE",
    "VQVAE",
    "Banana",
    "ConditionalEnergy",
    "ConvVAE",
    "DoubleWell",
    "Gaussian",
    "GaussianMixture",
    "GumbelVAE",
    "JointEnergy",
    "LinearGaussianVAE",
    "ResNet18Energy",
    "ResNetClassifier",
    "ResidualEnergy",
    "Ring",
    "SmallClassifier",
    "SmallEnergy",
    "SmoothClassifier",
    "StridedEnergy",
    "TenLayerEnergy",
    "TokenPrior",
    "eight_gaussians",
]
