"""What the tests ask of the page docs/explore: its numbers, its pixels, and the library's processes beside its own."""

import base64
from pathlib import Path

import numpy as np
import torch

from unmelt.degradations import (
    BlurringDiffusion,
    CosineBasis,
    CosineSchedule,
    DataSpectrum,
    Deterministic,
    EqualSNR,
    Eta,
    GeometricNoise,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    LinearSchedule,
    Markov,
    Pixelation,
    PixelMask,
    RectifiedFlowSchedule,
    SpectralDiffusion,
)
from unmelt.degradations.schedules import ConstantNoise

EXPLORE = Path(__file__).parents[2] / "docs" / "explore"
SHAPE = (3, 128, 128)

SCHEDULES = {
    "cosine": CosineSchedule(),
    "linear": LinearSchedule(),
    "flow": RectifiedFlowSchedule(),
    "geometric": GeometricNoise(),
}
COUPLINGS = {
    "markov": ({"name": "markov"}, Markov()),
    "deterministic": ({"name": "deterministic"}, Deterministic()),
    "independent": ({"name": "independent"}, Independent()),
    "eta": ({"name": "eta", "eta": 0.35}, Eta(0.35)),
    "eta of 0": ({"name": "eta", "eta": 0}, Eta(0.0)),
}
# A family's settings on the page.
CASES = {
    "heat": ("heat", {"blur": 64, "sigma": 0.01}),
    "little heat": ("heat", {"blur": 1, "sigma": 0.2}),
    "heat without noise": ("heat", {"blur": 24, "sigma": 0}),
    **{f"isotropic, {name}": ("isotropic", {"schedule": name}) for name in SCHEDULES},
    **{f"equal SNR, {name}": ("equalSnr", {"schedule": name}) for name in SCHEDULES},
    "blurring": ("blurring", {"blur": 20, "schedule": "cosine"}),
    "blurring without blur": ("blurring", {"blur": 0, "schedule": "flow"}),
    "pixelation": ("pixelation", {"sigma": 0.01}),
    "pixelation without noise": ("pixelation", {"sigma": 0}),
    "mask": ("mask", {"duration": 0.25, "sigma": 0.02}),
    "slow mask": ("mask", {"duration": 1, "sigma": 0.01}),
}


def library_process(family, settings, spectrum):
    """Return the library's process for settings of the page, and the page's spectrum of its picture."""
    noise = ConstantNoise(settings.get("sigma", 0.01))
    schedule = SCHEDULES[settings.get("schedule", "cosine")]
    match family:
        case "heat":
            return HeatDissipation(SHAPE, blur_sigma_max=settings["blur"], sigma=settings["sigma"])
        case "isotropic":
            return IsotropicDiffusion(SHAPE, schedule)
        case "equalSnr":
            variance = spectrum.expand(SHAPE)
            data = DataSpectrum(CosineBasis(SHAPE), torch.zeros(SHAPE, dtype=torch.float64), variance, 1)
            return SpectralDiffusion(SHAPE, EqualSNR(data), schedule=schedule)
        case "blurring":
            return BlurringDiffusion(SHAPE, blur_sigma_max=settings["blur"], schedule=schedule)
        case "pixelation":
            return Pixelation(SHAPE, noise=noise)
        case "mask":
            return PixelMask(SHAPE, duration=settings["duration"], noise=noise)
    raise AssertionError(family)


# Numbers cross over as bytes: as text they would take a minute.
BYTES = """(values) => {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}"""


def numbers(page, expression, argument=None, dtype=np.float64):
    """Return a typed array of the page, exactly, as a tensor."""
    text = page.evaluate(f"(argument) => ({BYTES})({expression})", argument)
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype).copy())


def open_explorer(page):
    page.goto((EXPLORE / "index.html").as_uri())
    page.evaluate("unmelt.page.ready")
    settle(page)
    return page


def settle(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def set_range(page, name, value):
    """Move a slider as a hand does."""
    page.eval_on_selector(
        f"#{name}", "(e, value) => { e.value = value; e.dispatchEvent(new Event('input')) }", str(value)
    )
    settle(page)


def shown(page, name="latent"):
    """Return the bytes of a picture on the page, (128, 128, 4)."""
    script = f"document.getElementById('{name}').getContext('2d').getImageData(0, 0, 128, 128).data"
    return numbers(page, script, dtype=np.uint8).reshape(128, 128, 4)
