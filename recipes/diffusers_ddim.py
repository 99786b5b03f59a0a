"""Samples of a saved diffusers model by every sampler: python recipes/diffusers_ddim.py FOLDER [--label 3] [--smoke].

FOLDER is a saved pipeline, or the hub's id of one. The same initial latents are stepped by each sampler with a few
budgets of network calls; a grid of each, with its calls in the captions, is written beside the others, and a table is
printed: what each took, and how far deterministic samples are from DDIM's with the most calls, in the data's units
(root mean square). Latents are decoded where the folder has an autoencoder. --smoke tries it in a minute: two samples,
few calls.
"""

import argparse
from pathlib import Path
from time import perf_counter

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unmelt.core.pictures import grid
from unmelt.degradations import Deterministic, Eta, Markov, ReverseSDE
from unmelt.models import AbstractDenoiser, LatentAutoencoder, StandardNormalPrior, TimestepSpacing, load_diffusers
from unmelt.samplers import (
    Adaptive,
    Follow,
    Heun,
    Multistep,
    Posterior,
    PredictorCorrector,
    Sampler,
    Stepper,
    TimestepGrid,
)

# By the names of their files, with the network calls of a step; the last step of two calls takes one.
SAMPLERS: dict[str, tuple[Stepper, int]] = {
    "ddim": (Posterior(Deterministic()), 1),
    "ddpm": (Posterior(Markov()), 1),
    "eta_half": (Posterior(Eta(0.5)), 1),
    "reverse_sde": (Posterior(ReverseSDE(1.0)), 1),
    "multistep_2": (Multistep(order=2), 1),
    "multistep_3": (Multistep(order=3), 1),
    "multistep_noise": (Multistep(order=2, follow=Follow.NOISE), 1),
    "heun": (Heun(), 2),
    "heun_noisy": (Heun(eta=1.0), 2),
    "predictor_corrector": (PredictorCorrector(), 2),
    "adaptive": (Adaptive(), 0),
}
_LETTERS = 14


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Return the settings on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="a saved diffusers pipeline, or its id on the Hugging Face hub")
    parser.add_argument("--out", type=Path, default=Path("diffusers_samples"), help="folder of the pictures")
    parser.add_argument("--count", type=int, default=16, help="samples of each sampler")
    parser.add_argument("--calls", type=int, nargs="+", default=[10, 20, 50], help="budgets of network calls")
    parser.add_argument("--label", type=int, help="class of all samples")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial latents and of the steps' noise")
    parser.add_argument("--smoke", action="store_true", help="two samples, with 2 and 4 calls")
    found = parser.parse_args(words)
    if found.folder is None:
        parser.error(
            "name a model: the folder of a saved diffusers pipeline (its save_pretrained writes one), or an id on the"
            " hub such as google/ddpm-cifar10-32"
        )
    if found.smoke:
        found.count, found.calls = 2, [2, 4]
    return found


def drawn(
    denoiser: AbstractDenoiser, name: str, calls: int, initial: Tensor, asked: argparse.Namespace
) -> tuple[Tensor | None, int, float]:
    """Return the samples of a sampler, None if they diverge, with the calls and seconds that they took."""
    stepper, cost = SAMPLERS[name]
    levels = TimestepGrid((calls + cost - 1) // cost, TimestepSpacing.TRAILING) if cost else None
    prior = StandardNormalPrior(denoiser.process, tolerance=0.1)
    condition = None if asked.label is None else torch.full((len(initial),), asked.label)
    generator, begun = torch.Generator().manual_seed(asked.seed + 1), perf_counter()
    sampler = Sampler(denoiser, stepper, levels, prior)
    try:
        found = sampler.run(len(initial), initial=initial, condition=condition, generator=generator, keep_path=False)
    except FloatingPointError:
        return None, calls, perf_counter() - begun
    return found.samples, found.stats.calls, perf_counter() - begun


def sheet(rows: list[tuple[str, Tensor]]) -> Image.Image:
    """Return grids of images in [-1, 1], one below the other, each under its caption."""
    pictures = [(caption, Image.fromarray(grid(images, (-1.0, 1.0)).numpy())) for caption, images in rows]
    width = max(30 * _LETTERS, *(picture.width for _, picture in pictures))
    whole = Image.new("RGB", (width, sum(picture.height + 2 * _LETTERS for _, picture in pictures)), "white")
    pen, y, font = ImageDraw.Draw(whole), 0, ImageFont.load_default(_LETTERS)
    for caption, picture in pictures:
        pen.text((4, y + _LETTERS // 3), caption, "black", font)
        whole.paste(picture, (0, y + 2 * _LETTERS))
        y += picture.height + 2 * _LETTERS
    return whole


def main(words: list[str] | None = None) -> None:
    """Draw what the command line asks for."""
    asked = arguments(words)
    denoiser = load_diffusers(asked.folder)
    try:
        autoencoder = LatentAutoencoder.load(asked.folder)
    except FileNotFoundError:
        autoencoder = None
    asked.out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(asked.seed)
    initial = StandardNormalPrior(denoiser.process, tolerance=0.1).sample(asked.count, generator=generator)
    reference, _, _ = drawn(denoiser, "ddim", max(asked.calls), initial, asked)
    print(f"{denoiser}\n\n| sampler | calls | seconds | from DDIM with {max(asked.calls)} calls |\n|---|---|---|---|")
    for name, (stepper, cost) in SAMPLERS.items():
        rows: list[tuple[str, Tensor]] = []
        for budget in asked.calls if cost else asked.calls[:1]:
            samples, calls, seconds = drawn(denoiser, name, budget, initial, asked)
            if samples is None:
                print(f"| {name} | {calls} | {seconds:.1f} | diverges |")
                continue
            noisy = Sampler(denoiser, stepper, prior=StandardNormalPrior(denoiser.process, tolerance=0.1)).draws_noise
            gap = "" if noisy or reference is None else f"{(samples - reference).square().mean().sqrt():.4f}"
            print(f"| {name} | {calls} | {seconds:.1f} | {gap} |", flush=True)
            with torch.no_grad():
                rows.append((f"{name}, {calls} calls", samples if autoencoder is None else autoencoder.decode(samples)))
        if rows:
            sheet(rows).save(asked.out / f"{name}.png")
    print(f"\npictures are in {asked.out}")


if __name__ == "__main__":
    main()
