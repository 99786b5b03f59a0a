r"""The pair of blurs (A_k x, A_{k-1} x) that inverse heat dissipation trains on, written out by hand in several ways.

These are what unmelt is timed beside: straight-line code for one square size, without checks, devices or options.
All of them take images (batch, channels, size, size) and levels k >= 1, (batch,), and return both blurred images.
"""

from __future__ import annotations

import math

import torch
import torch_dct
from torch import Tensor

Pair = tuple[Tensor, Tensor]
LONGEST_TABLE = 512


def cosines(size: int) -> Tensor:
    """Return the orthonormal DCT-II as a float64 matrix, frequency by pixel."""
    matrix = [
        [math.sqrt((1 if n == 0 else 2) / size) * math.cos(math.pi * n * (i + 0.5) / size) for i in range(size)]
        for n in range(size)
    ]
    return torch.tensor(matrix, dtype=torch.float64)


class HandWrittenBlurs:
    """Levels 0..K of blur on square images: level 0 is none, 1..K are spaced evenly in the logarithm of the width.

    Args:
        size: height and width in pixels.
        levels: number K of levels.
        blur_sigma_min: width of level 1's blur in pixels.
        blur_sigma_max: width of level K's blur in pixels.
    """

    def __init__(self, size: int, *, levels: int, blur_sigma_min: float, blur_sigma_max: float) -> None:
        widths = torch.linspace(math.log(blur_sigma_min), math.log(blur_sigma_max), levels, dtype=torch.float64).exp()
        self.widths = torch.cat([torch.zeros(1, dtype=torch.float64), widths])
        self.widths_single = self.widths.float()
        frequencies = (math.pi / size * torch.arange(size, dtype=torch.float64)).square()
        spectrum = frequencies[:, None] + frequencies
        self.spectrum = spectrum.float()
        matrix = cosines(size)
        self.cosines = matrix.float()
        time = self.widths.square() / 2
        self.fades = (-spectrum * time[:, None, None]).exp().float()
        self.blurs = ((matrix.mT * (-frequencies * time[:, None]).exp()[:, None]) @ matrix).float()

    def released(self, x: Tensor, level: Tensor) -> Pair:
        """Blur as the paper's released code does: its widths are float64, and so is all that they touch."""
        return self._by_fft(x, self.widths[level]), self._by_fft(x, self.widths[level - 1])

    def released_single(self, x: Tensor, level: Tensor) -> Pair:
        """Blur as `released` does, with float32 widths."""
        return self._by_fft(x, self.widths_single[level]), self._by_fft(x, self.widths_single[level - 1])

    def _by_fft(self, x: Tensor, width: Tensor) -> Tensor:
        u = torch_dct.dct_2d(x, norm="ortho")
        return torch_dct.idct_2d(u * torch.exp(-self.spectrum * (width[:, None, None, None] ** 2 / 2)), norm="ortho")

    def stacked(self, x: Tensor, level: Tensor) -> Pair:
        """Transform once by matrix products, fade twice, and transform both back in one stack."""
        time = self.widths_single[torch.cat([level, level - 1])].square() / 2
        return self._back(x, torch.exp(-self.spectrum * time[:, None, None]))

    def stacked_table(self, x: Tensor, level: Tensor) -> Pair:
        """Do what `stacked` does with a table of every level's fade."""
        return self._back(x, self.fades[torch.cat([level, level - 1])])

    def _back(self, x: Tensor, fade: Tensor) -> Pair:
        u = self.cosines @ x @ self.cosines.mT
        both = torch.cat([u, u]) * fade[:, None]
        more, less = (self.cosines.mT @ both @ self.cosines).chunk(2)
        return more, less

    def separable(self, x: Tensor, level: Tensor) -> Pair:
        """Multiply from either side with a table of every level's blur matrix, broadcast over channels."""
        more, less = self.blurs[level][:, None], self.blurs[level - 1][:, None]
        return more @ x @ more, less @ x @ less

    def separable_batched(self, x: Tensor, level: Tensor) -> Pair:
        """Do what `separable` does, all channels' rows in one product per example."""
        return self._batched(x, self.blurs[level]), self._batched(x, self.blurs[level - 1])

    @staticmethod
    def _batched(x: Tensor, blur: Tensor) -> Tensor:
        rows = torch.bmm(x.flatten(1, 2), blur).view_as(x)
        return blur[:, None] @ rows


class StackedBlurs:
    """The same for signals of any number of axes: one transform, two fades, and both transformed back in one stack.

    Axes of up to 512 are multiplied by a table, longer ones take torch-dct's FFT.

    Args:
        shape: shape of one signal, channels first.
        levels: number K of levels.
        blur_sigma_min: width of level 1's blur in pixels.
        blur_sigma_max: width of level K's blur in pixels.
    """

    def __init__(self, shape: tuple[int, ...], *, levels: int, blur_sigma_min: float, blur_sigma_max: float) -> None:
        widths = torch.linspace(math.log(blur_sigma_min), math.log(blur_sigma_max), levels, dtype=torch.float64).exp()
        self.time = (torch.cat([torch.zeros(1, dtype=torch.float64), widths]).square() / 2).float()
        self.axes = range(2, 1 + len(shape))
        self.tables = {size: cosines(size).float() for size in shape[1:] if size <= LONGEST_TABLE}
        spectrum = torch.zeros(())
        for size in shape[1:]:
            spectrum = spectrum[..., None] + (math.pi / size * torch.arange(size)).square()
        self.spectrum = spectrum

    def pair(self, x: Tensor, level: Tensor) -> Pair:
        """Return both blurs of signals (batch, *shape)."""
        time = self.time[torch.cat([level, level - 1])].reshape(-1, *(1,) * len(self.axes))
        u = self._transform(x, back=False)
        more, less = self._transform(torch.cat([u, u]) * torch.exp(-self.spectrum * time)[:, None], back=True).chunk(2)
        return more, less

    def _transform(self, x: Tensor, *, back: bool) -> Tensor:
        for axis in self.axes:
            table = self.tables.get(x.shape[axis])
            x = x.movedim(axis, -1)
            if table is None:
                x = torch_dct.idct(x, norm="ortho") if back else torch_dct.dct(x, norm="ortho")
            else:
                x = x @ (table if back else table.mT)
            x = x.movedim(-1, axis)
        return x
