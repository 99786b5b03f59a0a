"""Training steps beside their network alone, the released step, and diffusers' network."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from measuring import print_rows, print_table
from torch import Tensor, nn

from unmelt.degradations import HeatDissipation, PredictPreviousLevel
from unmelt.losses import DenoisingLoss
from unmelt.models import EMA, Denoiser, UNet

from .part import Bound, Found, Plan, measured, seeded

SHAPE, BATCH, LEVELS = (3, 32, 32), 8, 200
# The released network for CIFAR-10, and one that a laptop trains.
NETWORKS: dict[str, dict[str, Any]] = {
    "4 M": {"channels": 32},
    "61 M": {"channels": 128, "multipliers": (1, 2, 2, 2), "blocks": 4, "attention_levels": (2, 3)},
}
SMOKE: dict[str, dict[str, Any]] = {"4 M": {"channels": 4}}
LARGEST_SHARE = {"4 M": 0.10, "61 M": 0.05}
FASTER, FASTER_BF16, NETWORK = 1.10, 2.0, 1.10


class OurStep:
    """A step as the trainer takes it.

    Args:
        network: the network's settings.
        precision: autocast's dtype; float32 for none.
        channels_last: whether images and weights have their channels together in memory.

    Attributes:
        shares: of each step that was taken, what was not spent in the network, forward and backward. Of the backward
            pass the loss's part, three elementwise operations on a batch of images, counts as the network's.
    """

    def __init__(self, network: dict[str, Any], *, precision: torch.dtype, channels_last: bool = False) -> None:
        self.precision = precision
        self.network = UNet(SHAPE, **network)
        self.denoiser = Denoiser(self.network, HeatDissipation(SHAPE, levels=LEVELS), prediction=PredictPreviousLevel())
        self.denoiser.train()
        layout = torch.channels_last if channels_last else torch.contiguous_format
        for parameter in self.denoiser.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)
        self.loss = DenoisingLoss(self.denoiser)
        self.optimizer = torch.optim.AdamW(self.denoiser.parameters(), lr=2e-4, weight_decay=0.0, fused=True)
        self.ema = EMA(self.denoiser)
        self.x = torch.rand(BATCH, *SHAPE).contiguous(memory_format=layout)
        self.shares: list[float] = []
        self._entered = self._left = 0.0
        self.network.register_forward_pre_hook(self._enter)
        self.network.register_forward_hook(self._leave)

    def __call__(self) -> None:
        """Loss, backward pass, clipping, Adam, moving average."""
        started = time.perf_counter()
        with torch.autocast("cpu", self.precision, enabled=self.precision != torch.float32):
            loss = self.loss(self.x).mean()
        to_loss = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.denoiser)
        ended = time.perf_counter()
        outside = (self._entered - started) + (to_loss - self._left) + (ended - backward)
        self.shares.append(outside / (ended - started))

    def _enter(self, *_: object) -> None:
        self._entered = time.perf_counter()

    def _leave(self, *_: object) -> None:
        self._left = time.perf_counter()


class NetworkAlone:
    """Forward pass, squared error, backward pass: what no training code can do without."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.train()
        self.x, self.t, self.target = torch.rand(BATCH, *SHAPE), torch.rand(BATCH), torch.rand(BATCH, *SHAPE)

    def __call__(self) -> None:
        """Take the pass there and back."""
        (self.target - self._output()).square().sum().backward()
        self.network.zero_grad()

    def _output(self) -> Tensor:
        return self.network(self.x, self.t, None)


class DiffusersAlone(NetworkAlone):
    """The same of diffusers' UNet2DModel of the released widths."""

    def __init__(self) -> None:
        from diffusers.models.unets.unet_2d import UNet2DModel  # noqa: PLC0415  # only where it is asked for

        model: Any = UNet2DModel(
            sample_size=SHAPE[-1],
            in_channels=3,
            out_channels=3,
            layers_per_block=4,
            block_out_channels=(128, 256, 256, 256),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            attention_head_dim=256,
            dropout=0.1,
        )
        super().__init__(model)

    def _output(self) -> Tensor:
        return self.network(self.x, self.t).sample


class ReleasedStep:
    """The step of the released code, in its own words: network, loss, optimizer and average are those of its folder."""

    def __init__(self, folder: Path) -> None:
        sys.path.insert(0, str(folder))
        from model_code import ema, unet, utils  # pyright: ignore  # noqa: PGH003, PLC0415  # its folder is the user's
        from scripts import losses  # pyright: ignore  # noqa: PGH003, PLC0415

        widths = torch.linspace(math.log(0.5), math.log(24.0), LEVELS, dtype=torch.float64).exp()
        config = SimpleNamespace(
            data=SimpleNamespace(image_size=SHAPE[-1], num_channels=3),
            model=SimpleNamespace(
                K=LEVELS,
                sigma=0.01,
                dropout=0.1,
                model_channels=128,
                channel_mult=(1, 2, 2, 2),
                conv_resample=True,
                num_heads=1,
                attention_levels=(2, 3),
                num_res_blocks=4,
                use_fp16=False,
                use_scale_shift_norm=False,
                resblock_updown=False,
                use_new_attention_order=True,
                num_head_channels=-1,
                num_heads_upsample=-1,
                skip_rescale=True,
            ),
            optim=SimpleNamespace(
                automatic_mp=False,
                lr=2e-4,
                beta1=0.9,
                eps=1e-8,
                weight_decay=0,
                optimizer="Adam",
                warmup=5000,
                grad_clip=1.0,
            ),
        )
        self.network = unet.UNetModel(config)
        self.state = {
            "model": self.network,
            "optimizer": losses.get_optimizer(config, self.network.parameters()),
            "ema": ema.ExponentialMovingAverage(self.network.parameters(), decay=0.999),
            "step": 0,
        }
        blur = utils.DCTBlur(torch.cat([torch.zeros(1, dtype=torch.float64), widths]).numpy(), SHAPE[-1], "cpu")
        self.step = losses.get_step_fn(
            train=True,
            scales=None,
            config=config,
            optimize_fn=losses.optimization_manager(config),
            heat_forward_module=blur,
            device="cpu",
        )
        self.x = torch.rand(BATCH, *SHAPE)

    def __call__(self) -> None:
        """Take it."""
        self.step(self.state, self.x)


def training_step(plan: Plan) -> Found:
    """Time steps of both networks, and what of them is not the network's."""
    seeded()
    found = Found()
    for name, network in (SMOKE if plan.smoke else NETWORKS).items():
        steps = {
            "float32": OurStep(network, precision=torch.float32),
            "float32, channels last": OurStep(network, precision=torch.float32, channels_last=True),
            "bf16": OurStep(network, precision=torch.bfloat16),
        }
        contenders: dict[str, Callable[[], object]] = {"network alone": NetworkAlone(UNet(SHAPE, **network)), **steps}
        if name == "61 M" and plan.released is not None:
            contenders["released"] = released = ReleasedStep(plan.released)
            contenders["released network alone"] = _ReleasedAlone(released.network)
        if name == "61 M" and plan.diffusers:
            contenders["diffusers' network alone"] = DiffusersAlone()
        # Steps take long and differ by little, so that each is worth more time than other cases.
        numbers = measured(contenders, seconds=(1 if plan.smoke else 10) * plan.seconds, least=2 if plan.smoke else 7)
        found.cases[name] = numbers
        millions = sum(p.numel() for p in steps["float32"].network.parameters()) / 1e6
        print_table(
            f"training step, U-Net of {millions:.2f} M parameters at {(BATCH, *SHAPE)}: ms",
            {name: numbers},
            scale=1e3,
            ratios=False,
        )
        shares = {precision: statistics.median(step.shares) for precision, step in steps.items()}
        print_rows([["outside the network", ""], *([each, f"{share:.1%}"] for each, share in shares.items())])
        found.bounds.append(Bound(f"outside the network, {name}, float32", shares["float32"], LARGEST_SHARE[name]))
        found.bounds += _beside(name, {each: one["median_s"] for each, one in numbers.items()})
    return found


class _ReleasedAlone(NetworkAlone):
    def _output(self) -> Tensor:
        return self.network(self.x, (self.t * LEVELS).long())


def _beside(name: str, median: dict[str, float]) -> list[Bound]:
    """Return the bounds on ratios to others, where these were there."""
    bounds: list[Bound] = []
    released, diffusers = median.get("released"), median.get("diffusers' network alone")
    if released is not None:
        for precision, aim in (("float32", FASTER), ("float32, channels last", FASTER), ("bf16", FASTER_BF16)):
            what = f"training step, {name}, {precision}: times as fast as released"
            bounds.append(Bound(what, released / median[precision], aim, at_least=True))
        ratio = median["released network alone"] / median["network alone"]
        bounds.append(Bound(f"network, {name}: times as fast as released", ratio, NETWORK, at_least=True))
    if diffusers is not None:
        ratio = diffusers / median["network alone"]
        bounds.append(Bound(f"network, {name}: times as fast as diffusers'", ratio, NETWORK, at_least=True))
    return bounds
