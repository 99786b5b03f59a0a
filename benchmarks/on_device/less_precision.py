"""Where arithmetic may be rougher than float32's, and where it never is.

* A transform keeps float32's error whatever torch lets products of float32 be taken in (TensorFloat-32, bfloat16), as
  does the blur of heat dissipation; a plain product is shown beside them.
* Under autocast latent and target are those without it, to the last bit.
* A network's loss and gradient are off by rounding. A number passes N convolutions and linear layers on its way up and
  N on its way back; each rounds its input, its weights and its output, with a deviation of at most u (2^-8 in bfloat16,
  2^-11 in TensorFloat-32), as good as independently: sqrt(6 N) u relative to their size, in root mean square. In
  float32 itself the allowance is 16 times the CPU's own error: cuDNN may choose Winograd's convolutions, which round
  several times as much.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from measuring import print_rows
from torch import Tensor, nn

from on_device.arithmetic import convolutions, products
from on_device.judging import Found, judge
from on_device.setting import Bench
from unmelt.degradations import Basis, CosineBasis, FourierBasis, HeatDissipation
from unmelt.losses import DenoisingLoss
from unmelt.models import Denoiser, UNet
from unmelt.training.building import build_denoiser, build_loss, build_process

_SHAPE = (3, 32, 32)
_SETTINGS = ("highest", "high", "medium")
_BF16, _TF32 = 2.0**-8, 2.0**-11
_WINOGRAD = 16.0


def measure(bench: Bench) -> dict[str, object]:
    """Compare transforms, latents, losses and gradients, and report those that are off by more than they may."""
    found = [*_transforms(bench), *_latents(bench), *_network(bench)]
    rows = [["", "error", "allowed", ""]]
    rows += [[one.what, f"{one.error:.1e}", f"{one.allowed:.1e}", "" if one.passed else "OFF"] for one in found]
    print_rows(rows)
    plain = _plain_products(bench.device)
    print(f"  a plain product: {', '.join(f'{error:.1e} in {setting}' for setting, error in plain.items())}")
    bench.fail_if([f"{one.what}: {one.error:.1e} of {one.allowed:.1e}" for one in found if not one.passed], "too rough")
    return {"compared": [one._asdict() for one in found], "plain_products": plain}


def _transforms(bench: Bench) -> Iterator[Found]:
    x = torch.rand(16, *_SHAPE, generator=_seeded(0))
    for name, module in {
        "cosine transform": CosineBasis(_SHAPE),
        "Fourier transform": FourierBasis(_SHAPE),
        "blur": HeatDissipation(_SHAPE),
    }.items():
        with products("highest"):
            truth, ours = _transformed(module, x.double()), _transformed(module, x)
        there, moved = copy.deepcopy(module).to(bench.device), x.to(bench.device)
        for setting in _SETTINGS:
            with products(setting):
                yield judge(f"{name}, products {setting}", truth, ours, _transformed(there, moved).cpu())
                if bench.compile and setting == "high":
                    compiled = torch.compile(_transformed)
                    yield judge(f"{name}, compiled, products high", truth, ours, compiled(there, moved).cpu())


def _transformed(module: Basis | HeatDissipation, x: Tensor) -> Tensor:
    return module.degrade(x, 0.5)[0] if isinstance(module, HeatDissipation) else module.forward(x)


def _plain_products(device: torch.device) -> dict[str, float]:
    """Return the relative error of a product of matrices in each setting: what transforms are kept from."""
    matrix = torch.rand(512, 512, generator=_seeded(1)) - 0.5
    truth, there, errors = matrix.double() @ matrix.double(), matrix.to(device), dict[str, float]()
    for setting in _SETTINGS:
        with products(setting):
            product = (there @ there).cpu()
        errors[setting] = judge("", truth, product, product).error
    return errors


def _latents(bench: Bench) -> Iterator[Found]:
    config = bench.config(16)
    process = build_process(config, _SHAPE).to(bench.device)
    denoiser = build_denoiser(config, process, None).to(bench.device)
    x = torch.rand(16, *_SHAPE, generator=_seeded(0)).to(bench.device)
    noise = torch.randn(16, *_SHAPE, generator=_seeded(1)).to(bench.device)
    t = (1 + torch.arange(16, device=bench.device)) / 16
    plain = denoiser.prediction.training_pair(process.at(t), x, noise)
    with torch.autocast(bench.device.type, torch.bfloat16):
        under = denoiser.prediction.training_pair(process.at(t), x, noise)
    for name, one, other in zip(("latent", "target"), plain, under, strict=True):
        same = one.dtype == other.dtype and torch.equal(one, other)
        off = (one.double() - other.double()).abs().max().item()
        yield Found(f"{name} under autocast", off, 0.0, passed=same)


def _network(bench: Bench) -> Iterator[Found]:
    network = UNet(_SHAPE, channels=32, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.0)
    # Its last layers start at zero, and would hide all others.
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=_seeded(number)), alpha=0.02)
    layers = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules())
    config, host = bench.config(8), torch.device("cpu")

    def asked(device: torch.device, dtype: torch.dtype, precision: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        process = build_process(config, _SHAPE).to(device)
        denoiser = Denoiser(copy.deepcopy(network).to(device, dtype), process, prediction=config.prediction)
        loss = build_loss(config, denoiser).to(device)
        return _loss_and_gradient(loss, device, dtype, precision)

    with products("highest"), convolutions(tf32=False):
        truth, ours = asked(host, torch.float64), asked(host, torch.float32)
        theirs = asked(bench.device, torch.float32)
    rough = {"bf16": (_BF16, asked(bench.device, torch.float32, torch.bfloat16))}
    if bench.device.type == "cuda":
        with products("high"), convolutions(tf32=True):
            rough["TF32"] = (_TF32, asked(bench.device, torch.float32))
    for index, name in enumerate(("loss", "gradient")):
        one = judge(f"a network's {name}, float32", truth[index], ours[index], theirs[index])
        allowed = _WINOGRAD * one.allowed
        yield one._replace(allowed=allowed, passed=one.error <= allowed)
        for arithmetic, (unit, numbers) in rough.items():
            error, allowed = judge("", truth[index], ours[index], numbers[index]).error, math.sqrt(6 * layers) * unit
            yield Found(f"a network's {name}, {arithmetic}", error, allowed, error <= allowed)


def _loss_and_gradient(
    loss: DenoisingLoss, device: torch.device, dtype: torch.dtype, precision: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    """Return each example's loss and the gradient of their mean, on the CPU, for images and noise that are the same."""
    loss.train()
    x = torch.rand(8, *_SHAPE, generator=_seeded(0)).to(device, dtype)
    noise = torch.randn(8, *_SHAPE, generator=_seeded(1)).to(device, dtype)
    process = loss.denoiser.process
    at = process.at((1 + torch.arange(8, device=device)) / 8)
    with torch.autocast(device.type, precision or torch.bfloat16, enabled=precision is not None):
        found = loss.weighted_error(x, at, noise).square().flatten(1).sum(1)
        found.mean().backward()
    gradient = torch.cat([p.grad.flatten() for p in loss.parameters() if p.grad is not None])
    return found.detach().cpu(), gradient.cpu()


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
