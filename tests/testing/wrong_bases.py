"""Processes whose basis is wrong."""

import torch
from mutants import SHAPE, Sound, mutant

from unmelt.degradations import CosineBasis, LinearGaussianProcess, PixelBasis
from unmelt.testing.strategies import Anisotropic


class WrongBasis(Sound):
    """The cosine basis with a pair of functions put around its transforms."""

    def __init__(self):
        LinearGaussianProcess.__init__(self, self.Basis(SHAPE))
        for name, table in Anisotropic(CosineBasis(SHAPE)).named_buffers(recurse=False):
            self.register_constant(name, table)


@mutant(
    "the basis keeps shape and precision",
    r"basis\.forward makes .* in torch\.float64 of .* in torch\.float32",
    alone=False,
)
class Widening(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return x * torch.ones(x.shape[-1], dtype=torch.float64, device=x.device)


@mutant("the inverse transform undoes the transform", r"basis\.inverse\(forward\(x\)\).* instead of", alone=False)
class Rolled(WrongBasis):
    class Basis(CosineBasis):
        def synthesise(self, u):
            return super().synthesise(u.roll(1, -1))


@mutant(
    "the basis is orthonormal", r"squared length of two signals after basis\.forward.* is 4 instead of 1", alone=False
)
class Scaled(WrongBasis):
    class Basis(CosineBasis):
        def analyse(self, x):
            return 2 * super().analyse(x)

        def synthesise(self, u):
            return super().synthesise(u / 2)


@mutant("the basis is orthonormal", r"squared length of two signals after basis\.forward", alone=False)
class Sheared(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return torch.cat([x[..., :1] + 0.01 * x[..., 1:2], x[..., 1:]], -1)

        def synthesise(self, u):
            return torch.cat([u[..., :1] - 0.01 * u[..., 1:2], u[..., 1:]], -1)


@mutant("the inverse transform undoes the transform", r"inverse.*a clamp", alone=False)
class Clamping(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return x.clamp(-100, 100)


@mutant("the basis transforms each signal of a batch alone", r"basis\.forward, in a batch of 2, is", alone=False)
class Together(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return x if len(x) == 1 else x.flip(-1)

        def synthesise(self, u):
            return u if len(u) == 1 else u.flip(-1)


# Lengths of single signals change too: that is not what is wrong.
@mutant("the basis transforms each signal of a batch alone", r"basis\.forward, in a batch of 2, is", alone=False)
class MixedUp(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return x.reshape(-1, len(x)).mT.reshape(x.shape)

        def synthesise(self, u):
            return u.reshape(len(u), -1).mT.reshape(u.shape)


SIGNALS_ALONE = "the basis leaves signals alone"
LAYOUTS = "the basis takes signals that lie in memory in any order"
SIGNAL_GRADIENTS = "gradients flow through the basis"
PRECISIONS = "the basis is the same in every precision"


@mutant(SIGNALS_ALONE, r"basis\.forward changes the tensor that it gets", alone=False)
class InPlaceBasis(WrongBasis):
    class Basis(CosineBasis):
        def analyse(self, x):
            x *= 1.5
            return super().analyse(x / 1.5)


@mutant(SIGNALS_ALONE, r"basis\.inverse changes the tensor that it gets", alone=False)
class InPlaceInverse(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return x.flip(-1)

        def synthesise(self, u):
            u[:] = u.flip(-1)
            return u


@mutant(LAYOUTS, r"basis\.forward.*raises RuntimeError: view size.*reshape", alone=False)
class NeedsContiguous(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return x.view(len(x), -1).flip(-1).view(x.shape)

        def synthesise(self, u):
            return u.reshape(len(u), -1).flip(-1).reshape(u.shape)


@mutant(LAYOUTS, r"basis\.inverse, .*, is", alone=False)
class ReadsMemory(WrongBasis):
    class Basis(PixelBasis):
        def synthesise(self, u):
            return torch.as_strided(u, u.shape, u.new_empty(u.shape).stride(), u.storage_offset()).clone()


@mutant(SIGNAL_GRADIENTS, r"basis\.forward\(x\) gives no gradient.*no_grad", alone=False)
class NoGradient(WrongBasis):
    class Basis(CosineBasis):
        def analyse(self, x):
            with torch.no_grad():
                return super().analyse(x)


@mutant(SIGNAL_GRADIENTS, r"basis\.inverse\(u\) gives no gradient", alone=False)
class DetachedInverse(WrongBasis):
    class Basis(CosineBasis):
        def synthesise(self, u):
            return super().synthesise(u.detach())


@mutant(SIGNAL_GRADIENTS, r"the gradient of basis\.forward\(x\).* is", alone=False)
class HalfGradient(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return (x + x.detach()) / 2


@mutant(
    "the inverse transform undoes the transform", r"off by \S+e-0[78]\. .*a table kept in float32.*float64", alone=False
)
class SingleTable(WrongBasis):
    class Basis(PixelBasis):
        def __init__(self, shape):
            super().__init__(shape)
            generator = torch.Generator().manual_seed(0)
            matrix, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))
            self.register_constant("matrix", matrix.float())

        def analyse(self, x):
            return x @ self.matrix.to(x.dtype)

        def synthesise(self, u):
            return u @ self.matrix.to(u.dtype).mT


@mutant(PRECISIONS, r"basis\.forward\(x\) in torch\.float32 is .* instead of")
class OtherInSingle(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return x.flip(-1) if x.dtype == torch.float32 else x

        def synthesise(self, u):
            return u.flip(-1) if u.dtype == torch.float32 else u


@mutant(PRECISIONS, r"inside autocast is (torch\.bfloat16|\S+ instead)", alone=False)
class RoundedByAutocast(WrongBasis):
    class Basis(PixelBasis):
        def forward(self, x):
            x = x if x.dtype == torch.float64 else x.float()
            return (x.flatten(1) @ torch.eye(24, dtype=x.dtype, device=x.device)).to(x.dtype).reshape(x.shape)


@mutant("the basis keeps shape and precision", r"torch\.complex", alone=False)
class ComplexSpectrum(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return torch.fft.fft(x, norm="ortho")

        def synthesise(self, u):
            return torch.fft.ifft(u, norm="ortho").real


@mutant("tables are left alone", r"basis\.forward changes the table basis\.scale", alone=False)
class ChangingBasis(WrongBasis):
    class Basis(PixelBasis):
        def __init__(self, shape):
            super().__init__(shape)
            self.register_constant("scale", torch.ones(4, dtype=torch.float64))

        def analyse(self, x):
            self.scale.neg_()
            return x * self.scale.to(x.dtype).abs()
