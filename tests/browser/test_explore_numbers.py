"""The numbers of docs/explore are the library's: coefficients, log-SNRs, posteriors and pixels."""

import pytest
import torch
from explore_page import CASES, COUPLINGS, SHAPE, library_process, numbers, open_explorer, set_range, shown

pytestmark = [pytest.mark.browser, pytest.mark.full]

# Scales and pixels end at sevenths and at some of the others, but for rounding.
TIMES = [0.0, 1e-9, 0.003, 0.25, 0.3, 0.5, 0.85, 0.999, *(j / 7 for j in range(1, 8))]
STEPS = [(0.0, 0.0), (0.0, 0.05), (0.0, 1.0), (0.3, 0.3), (0.25, 0.5), (1 / 7, 2 / 7), (0.9, 0.95), (0.95, 1.0)]
# Coefficients from all over the spectrum, its corners and edges among them.
CHOSEN = [0, 1, 2, 127, 128, 129, 16383, *range(300, 16384, 397)]
# Sums of a few logarithms, each rounded, in two libraries of elementary functions.
NEARLY = {"rtol": 1e-10, "atol": 1e-13}


@pytest.fixture(scope="module")
def explorer(browser):
    context = browser.new_context()
    yield open_explorer(context.new_page())
    context.close()


def pair(explorer, case):
    """Make a case's process on the page, as `made.process`, and in the library."""
    family, settings = CASES[case]
    script = """([family, settings]) => {
      window.made = unmelt.scene.make(family, settings, unmelt.page.chosen.picture, unmelt.scene.noiseOf(7));
    }"""
    explorer.evaluate(script, [family, settings])
    return library_process(family, settings, numbers(explorer, "made.spectrum").reshape(SHAPE[1:]))


def ours(table):
    """Return one channel's chosen coefficients of a table that broadcasts to (1, *shape)."""
    return table[0].expand(SHAPE)[0].flatten()[CHOSEN]


def agree(theirs, expected):
    torch.testing.assert_close(theirs, expected, **NEARLY, equal_nan=False)


@pytest.mark.parametrize("case", CASES)
class TestOneTime:
    def test_coefficients_and_log_snr_are_the_librarys(self, explorer, case):
        process = pair(explorer, case)
        script = """(([t, chosen]) => {
          const level = made.process.at(t);
          const rows = [level.logAlpha, level.logSigma, (k) => unmelt.processes.logSnr(level, k)];
          return Float64Array.from(rows.flatMap((row) => chosen.map(row)));
        })(argument)"""
        for t in TIMES:
            log_alpha, log_sigma, log_snr = numbers(explorer, script, [t, CHOSEN]).reshape(3, -1)
            at = process.at(t)
            agree(log_alpha, ours(at.log_alpha))
            agree(log_sigma, ours(at.log_sigma))
            agree(log_snr, ours(at.log_snr))

    def test_all_that_is_looked_at_is_the_librarys_corruption(self, explorer, case):
        process = pair(explorer, case)
        x, noise, u = (
            numbers(explorer, script).reshape(1, *SHAPE)
            for script in ("made.picture", "unmelt.whiteNoise(7, 3 * 128 * 128)", "made.coefficients")
        )
        # The page has isotropic noise in cosines, too, where it is the same.
        if not case.startswith("isotropic"):
            torch.testing.assert_close(u, process.basis.forward(x), rtol=0, atol=1e-11)
        for t in (0.0, 0.4, 1.0):
            pixels = numbers(explorer, "unmelt.scene.look(made, argument).pixels", t).reshape(1, *SHAPE)
            torch.testing.assert_close(pixels, process.corrupt(x, noise, t), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("case", CASES)
def test_posteriors_are_the_librarys(explorer, case, coupling):
    process = pair(explorer, case)
    named, expected = COUPLINGS[coupling]
    script = """(([s, t, coupling, chosen]) => {
      const [atS, atT] = [made.process.at(s), made.process.at(t)];
      const found = chosen.map((k) => unmelt.posteriors.posterior(atS, atT, coupling, k));
      return Float64Array.from(["latent", "data", "deviation"].flatMap((name) => found.map((row) => row[name])));
    })(argument)"""
    for s, t in STEPS:
        latent, data, deviation = numbers(explorer, script, [s, t, named, CHOSEN]).reshape(3, -1)
        found = process.posterior_coefficients(s, t, expected)
        agree(latent, ours(found.latent))
        agree(data, ours(found.signal * process.alpha(s)))
        agree(deviation, ours(found.stddev))


@pytest.mark.parametrize("family", ["heat", "isotropic", "equalSnr", "blurring", "pixelation", "mask"])
def test_what_is_shown_is_the_librarys_in_its_declared_range(explorer, family):
    explorer.select_option("#family", family)
    explorer.fill("#seed", "3")
    set_range(explorer, "time", 0.45)
    settings, spectrum = explorer.evaluate("unmelt.page.chosen.settings")[family], "unmelt.page.scene().spectrum"
    process = library_process(family, settings, numbers(explorer, spectrum).reshape(SHAPE[1:]))
    low = 0.0 if family in {"heat", "pixelation", "mask"} else -1.0
    original = shown(explorer, "original")[..., :3].permute(2, 0, 1)
    x = low + (1 - low) * original.double() / 255
    noise = numbers(explorer, "unmelt.whiteNoise(3, 3 * 128 * 128)").reshape(1, *SHAPE)
    exact = ((process.corrupt(x[None], noise, 0.45)[0] - low) / (1 - low)).clamp(0, 1) * 255
    found = shown(explorer)
    assert (found[..., :3].permute(2, 0, 1) - exact).abs().max() <= 0.5 + 1e-6
    assert (found[..., 3] == 255).all()


def test_noise_is_white_and_follows_its_seed(explorer):
    first, again, other = (numbers(explorer, f"unmelt.whiteNoise({seed}, 49152)") for seed in (0, 0, 1))
    assert torch.equal(first, again)
    # Means of 49152 numbers have a standard deviation of 0.0045, of their squares and fourth powers 0.0064 and 0.044.
    for noise in (first, other):
        assert noise.mean().abs() < 0.02
        assert (noise.square().mean() - 1).abs() < 0.03
        assert (noise.pow(4).mean() - 3).abs() < 0.2
        assert (noise[1:] * noise[:-1]).mean().abs() < 0.02
    assert (first * other).mean().abs() < 0.02
