"""The networks whose features distances are measured in: frozen, each known by its hash.

A distance means something only beside other distances in the same features. So these networks never change: the hash
of every one stands here, and a retrained one is another network, which wants another name.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..base.places import chosen_folder
from ..data import to_float, to_uint8
from ..models.protocols import FeatureNetwork
from . import arguments


@dataclass(frozen=True)
class Known:
    """What a feature network takes and gives."""

    takes: tuple[int, int, int] | None  # (C, H, W); None: colour of any size, which the network itself resizes
    n_features: int
    sha256: str | None  # of the weights; None: another project's file, which torch-fidelity reads


NETWORKS = {
    "digit_classifier": Known((1, 28, 28), 128, "47d3fe727104f629316bb737378be836728b8f84f86188d4860769020936e30f"),
    "cifar_classifier": Known((3, 32, 32), 256, "2458dd7fbfb401551c350bfab339eefd07217e48a5180b9f3dc95b0de8b2f24b"),
    "face_features": Known((3, 64, 64), 64, "e7de20864b0eb1329a8874a20463f9a22c02fea878a409f671c523039bc14d10"),
    "inception": Known(None, 2048, None),
}  # fmt: skip
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"  # torch-fidelity's


class FrozenFeatures(nn.Module):
    """Images (B, C, H, W), uint8 or floats in [-1, 1] -> features (B, d); always in eval mode, without a gradient.

    Fits ``torchmetrics.image.fid.FrechetInceptionDistance(feature=...)`` as it is.
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.name, self.takes, self.num_features = name, NETWORKS[name].takes, NETWORKS[name].n_features
        self.network = network.requires_grad_(False)
        self.eval()

    @property
    def label(self) -> str:
        """What a caption says of the features."""
        return f"{self.name} features, d = {self.num_features}"

    def train(self, mode: bool = True) -> FrozenFeatures:
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        arguments.images("x", x)
        expected = self.takes or (3, *x.shape[2:])
        if tuple(x.shape[1:]) != tuple(expected):
            wanted = "(N, 3, H, W)" if self.takes is None else f"(N, {', '.join(map(str, self.takes))})"
            raise ValueError(
                f"x: {self.name} takes images {wanted}, got {tuple(x.shape)}; resized images are other images"
            )
        if self.name == "inception":
            return self.network(x if x.dtype == torch.uint8 else to_uint8(x)).float()
        return features_of(self.network, to_float(x) if x.dtype == torch.uint8 else x).float()


def features_of(network: nn.Module, x: Tensor) -> Tensor:
    """(B, C, H, W) in [-1, 1] -> (B, d): the layer of a network in which images are compared.

    Raises:
        ValueError: the network does not say which layer that is.
    """
    if not isinstance(network, FeatureNetwork):
        raise ValueError(f"{type(network).__name__} has no features(x) in which images could be compared")
    return network.features(x).flatten(1)


def feature_network(name: str) -> FrozenFeatures:
    """A frozen network by name, checked against its hash.

    ``"inception"`` is the usual one of the literature. It needs the package torch-fidelity and its weights file,
    which is never fetched from here: where it is missing, the error says what to do.

    Raises:
        ValueError: an unknown name, or weights that are not the ones whose figures stand in this workbook.
        FileNotFoundError: the weights are missing.
    """
    arguments.choice("name", name, NETWORKS)
    if name == "inception":
        return FrozenFeatures(name, _inception())
    if checkpoints.read_card(name)["sha256"] != NETWORKS[name].sha256:
        raise ValueError(
            f"checkpoints/{name} is not the network whose distances stand in this workbook (its hash differs): restore "
            "it from the repository, or keep yours under another name and write that name beside its figures"
        )
    with torch.random.fork_rng(devices=[]):  # building a network draws first weights, which are thrown away
        return FrozenFeatures(name, checkpoints.load(name))


def inception_weights() -> Path:
    """Where the weights of Inception are looked for: $GEN_INCEPTION, else PyTorch's folder of downloads."""
    return chosen_folder("GEN_INCEPTION") or Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE


def has_inception() -> bool:
    """Are the package and the weights here?"""
    return importlib.util.find_spec("torch_fidelity") is not None and inception_weights().is_file()


def _inception() -> nn.Module:
    path = inception_weights()
    if not has_inception():
        missing = f"the weights {path}" if not path.is_file() else "the package torch-fidelity"
        raise FileNotFoundError(
            f"Inception needs {missing}. Install torch-fidelity and download {INCEPTION_FILE} from its releases "
            "page, or set GEN_INCEPTION to the file. Without it, use the project's own networks: "
            f"{', '.join(n for n in NETWORKS if n != 'inception')}"
        )
    from torchmetrics.image.fid import NoTrainInceptionV3

    return NoTrainInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
