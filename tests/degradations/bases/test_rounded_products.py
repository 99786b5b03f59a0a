"""Where torch may round the factors of float32 products, transforms and blurs are taken in float64."""

import pytest
import torch

from unmelt.core.precision import float32_products_are_rounded
from unmelt.degradations import FourierBasis, HartleyBasis, HeatDissipation, MatrixBasis, opponent_colours

SHAPE = (3, 8, 8)
HEAT = HeatDissipation(SHAPE, levels=10)
TRANSFORMS = {
    "cosine": HEAT.basis,
    "Fourier": FourierBasis(SHAPE),
    "Hartley": HartleyBasis(SHAPE),
    "matrix": MatrixBasis((3,), opponent_colours()),
}


def images(*shape):
    return torch.rand(5, *shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["high", "medium", "newer"])
def rounded(request):
    """Torch's settings, older and newer: after these it refuses to be asked for the older ones."""
    matmul = torch.backends.cuda.matmul
    if request.param != "newer":
        torch.set_float32_matmul_precision(request.param)
    elif not hasattr(matmul, "fp32_precision"):
        pytest.skip("new in torch 2.9")
    else:
        matmul.fp32_precision = "tf32"
    yield
    torch.set_float32_matmul_precision("highest")


def test_the_setting_is_seen_and_left_as_it_is(rounded):
    assert float32_products_are_rounded()
    HEAT.basis(images(*SHAPE))
    assert float32_products_are_rounded()


def test_without_it_nothing_changes():
    assert not float32_products_are_rounded()
    assert torch.get_float32_matmul_precision() == "highest"
    x = images(*SHAPE)
    assert not torch.equal(HEAT.basis(x), HEAT.basis(x.double()).float())


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_are_float64_s(name, rounded):
    basis = TRANSFORMS[name]
    x = images(*basis.shape)
    assert torch.equal(basis(x), basis(x.double()).float())
    assert torch.equal(basis.inverse(x), basis.inverse(x.double()).float())
    # Half precision is returned in float32 as ever.
    assert torch.equal(basis(x.half()), basis(x.half().double()).float())


def test_blurs_by_matrices_are_float64_s(rounded):
    x = images(*SHAPE)
    assert all(map(torch.equal, HEAT.degrade(x, 0.3, 0.6), [y.float() for y in HEAT.degrade(x.double(), 0.3, 0.6)]))


def test_gradients_are_float64_s(rounded):
    x, weights = images(*SHAPE).requires_grad_(), images(*SHAPE).flip(0)
    (HEAT.basis(x) * weights).sum().backward()
    assert torch.equal(x.grad, HEAT.basis.inverse(weights.double()).float())
