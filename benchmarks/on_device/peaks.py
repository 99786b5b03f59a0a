"""What devices can do at most, and what is asked of them: model FLOP utilisation is one over the other."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from unmelt.losses import DenoisingLoss


class Peak(NamedTuple):
    """Dense products of a device, in TFLOP/s."""

    bf16: float
    tf32: float
    float32: float


# NVIDIA's data sheets (H100 Tensor Core GPU, 2023; H200, 2024; A100, 2021), whose figures "with sparsity" are halved.
# The first name that is found in the device's counts.
PEAKS = (
    ("MIG", None),
    ("H100 PCIe", Peak(756, 378, 51)),
    ("H100 NVL", Peak(835, 417.5, 60)),
    ("H200 NVL", Peak(835, 417.5, 60)),
    ("H100", Peak(989, 495, 67)),
    ("H200", Peak(989, 495, 67)),
    ("GH200", Peak(989, 495, 67)),
    ("A100", Peak(312, 156, 19.5)),
)


def peak_of(device: torch.device) -> Peak | None:
    """Return what a device can do at most; None where that is not known."""
    return peak_of_name(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


def peak_of_name(name: str) -> Peak | None:
    """Return the peak of a device of this name, as CUDA tells it: "NVIDIA H100 80GB HBM3"."""
    for known, peak in PEAKS:
        if re.search(rf"\b{known}\b", name):
            return peak
    return None


def flop_of_a_training_image(loss: DenoisingLoss, x: torch.Tensor) -> int:
    """Return the multiplications and additions of one image's loss and gradient, products and convolutions alone.

    Args:
        loss: the training loss; gradients are left on its parameters.
        x: an image on its device, (1, *shape).
    """
    # Plain products, of which all devices count the same.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss(x).sum().backward()
    return counter.get_total_flops()
