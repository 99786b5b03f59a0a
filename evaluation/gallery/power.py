"""How much of samples lies at each frequency, beside the training examples."""

from __future__ import annotations

import torch
from torch import Tensor

from ...training.data.examples import spread
from ..power_spectrum import PowerSpectrum, octaves, power_spectrum
from .figures import Axis, Line, Panel, Plot
from .subject import Subject

TITLE = "Spectra"
ABOUT = (
    "Power by frequency, the mean square of coefficients of an orthonormal cosine transform, of samples and of training"
    " examples; and what the samples have of it in each octave, where 1 is as it should be. Bands are two standard"
    " errors to either side."
)
_EXAMPLES = 512
_FREQUENCY = Axis("frequency (cycles per pixel)", logarithmic=True)


def power(subject: Subject) -> Panel:
    """Return the spectra of samples and of training examples of a run, and their ratio by octave."""
    if subject.data is None:
        return Panel(missing=subject.without_data)
    train = subject.data.train
    real = train.fetch(spread(len(train), _EXAMPLES)).x
    samples = subject.samples.clamp(*subject.range)
    counts = f"{len(samples)} samples by {subject.drawn_by}, and {len(real)} training examples"
    lines = [_line("training examples", power_spectrum(real)), _line("samples", power_spectrum(samples))]
    spectra = Plot(
        "Power by frequency",
        _FREQUENCY,
        Axis("power (squared data units)", logarithmic=True),
        lines,
        f"{counts}; samples cut off at the data's range. The constant is left out.",
    )
    return Panel([spectra, _ratios(samples, real, counts)])


def _ratios(samples: Tensor, real: Tensor, counts: str) -> Plot:
    ours = power_spectrum(samples, bands=octaves)
    ratio, error = ours.ratio_to(power_spectrum(real, bands=octaves))
    kept = (ours.frequency > 0) & ratio.isfinite()
    line = _banded("samples over training examples", ours.frequency[kept], ratio[kept], error[kept])
    return Plot("Power of samples over that of training examples", _FREQUENCY, Axis("ratio"), [line], counts, level=1.0)


def _line(name: str, spectrum: PowerSpectrum) -> Line:
    # Of the constant there is no place on a logarithmic axis, nor of no power.
    kept = (spectrum.frequency > 0) & (spectrum.power > 0)
    return _banded(name, spectrum.frequency[kept], spectrum.power[kept], spectrum.error[kept])


def _banded(name: str, x: Tensor, y: Tensor, error: Tensor) -> Line:
    ends = torch.stack([y - 2 * error, y + 2 * error])
    return Line(name, x.tolist(), y.tolist(), ends[0].tolist(), ends[1].tolist(), dots=len(x) < 12)
