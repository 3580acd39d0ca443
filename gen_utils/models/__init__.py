"""Networks only: no training, no data. Each keeps its constructor's arguments in ``config``.

``LatentVariableModel`` is none: it says which methods the likelihood estimators ask of one.
"""

from .analytic import Banana, DoubleWell, Gaussian, GaussianMixture, Ring, eight_gaussians
from .classifier import SmallClassifier
from .conditional_energy import ConditionalEnergy
from .denoisers import EnergyUNet, PlaneNoiseEnergy, ScoreUNet
from .energy import SmallEnergy
from .face_features import FaceFeatures
from .gan import AutoencoderEnergy, Critic, Generator, ToyCritic, ToyGenerator
from .joint_energy import JointEnergy
from .label_input_energy import LabelInputEnergy
from .linear_gaussian import LinearGaussianVAE
from .protocols import LatentVariableModel
from .residual_energy import ResidualEnergy, ResNet18Energy
from .resnet import ResNetClassifier
from .smooth_classifier import SmoothClassifier
from .smoothed_mixture import SmoothedMixture
from .strided_energy import StridedEnergy
from .ten_layer_energy import TenLayerEnergy
from .token_prior import TokenPrior
from .vae import MLPVAE, ConvVAE
from .vaebm import VAEBM
from .vqvae import VQVAE, GumbelVAE

__all__ = [
    "MLPVAE",
    "VAEBM",
    "VQVAE",
    "AutoencoderEnergy",
    "Banana",
    "ConditionalEnergy",
    "ConvVAE",
    "Critic",
    "DoubleWell",
    "EnergyUNet",
    "FaceFeatures",
    "Gaussian",
    "GaussianMixture",
    "Generator",
    "GumbelVAE",
    "JointEnergy",
    "LabelInputEnergy",
    "LatentVariableModel",
    "LinearGaussianVAE",
    "PlaneNoiseEnergy",
    "ResNet18Energy",
    "ResNetClassifier",
    "ResidualEnergy",
    "Ring",
    "ScoreUNet",
    "SmallClassifier",
    "SmallEnergy",
    "SmoothClassifier",
    "SmoothedMixture",
    "StridedEnergy",
    "TenLayerEnergy",
    "TokenPrior",
    "ToyCritic",
    "ToyGenerator",
    "eight_gaussians",
]
