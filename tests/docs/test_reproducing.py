"""The page on reproducing the papers: every value, test, flag and name on it is what it says."""

import ast
import contextlib
import io
import itertools
import math
import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image
from support import seeded

from unmelt.commands import main
from unmelt.core.configuration import parse
from unmelt.core.pictures import save_images
from unmelt.degradations import (
    ColdBlur,
    CosineSchedule,
    EDMSchedule,
    Independent,
    IsotropicDiffusion,
    LinearSchedule,
    PredictEpsilon,
    PredictX,
    ResidualShiftSchedule,
    ScaledNoise,
    SymmetricNoise,
    TowardsMean,
)
from unmelt.losses import EDMWeighting, LogNormalTimes
from unmelt.models import DegradedDataPrior, Denoiser, UNet
from unmelt.samplers import Posterior, Sampler, UniformGrid

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reproducing_the_papers.md").read_text()
SHAPE = (2, 5, 6)


def config(name):
    """Return the configuration of a recipe."""
    names = {"__name__": name}
    exec((ROOT / "recipes" / f"{name}.py").read_text(), names)  # noqa: S102
    return names["RECIPE"]


def section(title):
    """Return the text under a heading."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return text


def rows(title, number=0):
    """Return a section's table, by the first cell of each row."""
    table = re.findall(r"(?:^\|.*\n)+", section(title), re.MULTILINE)[number]
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]
    assert {len(line) for line in lines} == {len(lines[0])}
    return {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}


def numbers(*values):
    return ", ".join(map(str, values))


def scientific(rate):
    return f"{rate:.0e}".replace("e-0", "e-")


class TestRecipes:
    @pytest.mark.parametrize("name", [name.strip("`") for name in rows("Inverse heat dissipation")])
    def test_heats_settings_are_those_of_the_recipe(self, name):
        row, recipe = rows("Inverse heat dissipation")[f"`{name}`"], config(name)
        process, network, training = recipe.process.settings, recipe.network.settings, recipe.training
        assert row == {
            "recipe": f"`{name}`",
            "levels": str(process["levels"]),
            "widest blur": f"{process['blur_sigma_max']:g}",
            "rate": scientific(recipe.optimizer.settings["lr"]),
            "batch": str(training.batch_size),
            "average": str(training.ema_decay),
            "multipliers": numbers(*network["multipliers"]),
            "blocks": str(network["blocks"]),
            "attention": numbers(*network["attention_levels"]),
            "dropout": str(network["dropout"]),
            "steps": f"{training.steps / 1e6:g} M",
        }
        said = section("Inverse heat dissipation")
        assert f"from {process['blur_sigma_min']:g} pixels" in said
        assert f"noise {process['sigma']:g}, {network['channels']} channels" in said
        assert f"{training.warmup} steps of warm-up, gradients clipped at {training.clip:g}" in said
        assert not training.flip

    def test_all_recipes_of_heat_are_there(self):
        found = {path.stem for path in (ROOT / "recipes").glob("*_heat.py")} - {"digits_heat", "fashion_heat"}
        assert {name.strip("`") for name in rows("Inverse heat dissipation")} == found - {"photos_heat"}

    def test_where_heat_differs(self):
        table, recipe = rows("Inverse heat dissipation", 1), config("cifar10_heat")
        ours = {name: row["unmelt, `cifar10_heat`"] for name, row in table.items()}
        assert ours["delta"].startswith(f"{recipe.sampler.reverse_std.times_sigma:g} sigma")
        assert ours["arithmetic"].startswith(recipe.training.precision.value)
        widest = config("afhq64_heat").process.settings["blur_sigma_max"]
        assert ours["AFHQ-64's strongest blur"] == f"{widest:g} pixels"
        assert f"sigma {config('churches128_heat').process.settings['sigma']:g}" in ours["churches' settings"]
        parameters = sum(p.numel() for p in network_of(recipe).parameters())
        assert f"U-Net of {parameters / 1e6:.1f} M" in ours["network"]
        # The constant of a step that is 1.25 times as wide as the noise, and what 199 of them cost in bits.
        constant = (1 / 1.25**2 - 1 + 2 * math.log(1.25)) / 2
        assert f"costs {constant:.4f} nats" in PAGE
        assert f"{199 * constant / math.log(2):.2f} bits" in PAGE

    def test_ddpms_settings_are_those_of_the_recipe(self):
        recipe = config("cifar10_ddpm")
        ours = {name: row["unmelt, `cifar10_ddpm`"] for name, row in rows("DDPM").items()}
        training, network = recipe.training, recipe.network.settings
        assert ours["rate, batch, warm-up, clip"] == numbers(
            scientific(recipe.optimizer.settings["lr"]), training.batch_size, training.warmup, f"{training.clip:g}"
        )
        mirrored = "yes" if training.flip else "no"
        assert ours["average, dropout, mirrored"] == numbers(training.ema_decay, network["dropout"], mirrored)
        assert ours["steps trained"] == f"{training.steps / 1e6:g} M"
        assert recipe.process.settings["schedule"] == LinearSchedule()
        assert f"rates {LinearSchedule().beta_min:g} to {LinearSchedule().beta_max:g}" in ours["noise"]
        assert recipe.sampler == Posterior()
        assert recipe.prediction == PredictEpsilon()
        said = f"{network['blocks']} blocks, attention at levels {numbers(*network['attention_levels'])}"
        assert said in ours["network"]

    def test_blurring_diffusions_settings_are_those_of_the_recipe(self):
        recipe, ddpm = config("cifar10_blurring"), config("cifar10_ddpm")
        ours = {name: row["unmelt, `cifar10_blurring`"] for name, row in rows("Blurring diffusion").items()}
        process = recipe.process((3, 32, 32))
        assert ours["widest blur, floor d"] == f"{process.blur.maximum:g} pixels, {process.min_scale:g}"
        schedule = CosineSchedule()
        assert process.noise == schedule
        assert ours["log-SNR"] == f"cosine from {schedule.log_snr_max:g} to {schedule.log_snr_min:g}"
        assert ours["steps, data"] == f"{recipe.grid.steps}, in [{recipe.data.low:g}, {recipe.data.high:g}]"
        assert ours["network, training"] == "those of `cifar10_ddpm`"
        assert (recipe.network, recipe.optimizer, recipe.training) == (ddpm.network, ddpm.optimizer, ddpm.training)
        assert recipe.prediction == PredictEpsilon()
        # Its step to t = 0 adds the schedule's noise there.
        assert f"{process.sigma(0.0).item():.4f}" in rows("Blurring diffusion")["last step"]["public port"]
        large, heat = config("churches128_blurring"), config("churches128_heat")
        assert large.network == heat.network
        assert large.process == recipe.process

    def test_defaults_of_the_others_are_the_released_ones(self):
        released = {name: row["released code"] for name, row in rows("Others").items()}
        edm, times = EDMSchedule(), LogNormalTimes()
        (said,) = (cell for name, cell in released.items() if name.startswith("EDM"))
        assert f"rho {edm.rho:g}, {edm.sigma_min:g} to {edm.sigma_max:g}" in said
        assert f"log sigma normal, {times.mean:g} and {times.std:g}; data {EDMWeighting().data_stddev:g}" in said
        shift = ResidualShiftSchedule()
        (said,) = (cell for name, cell in released.items() if name.startswith("ResShift"))
        settings = f"{shift.levels} levels, kappa {shift.kappa:g}, power {shift.power:g}"
        assert f"{settings}, sqrt eta to {math.sqrt(shift.eta_max):g}" in said
        bridge = SymmetricNoise()
        (said,) = (cell for name, cell in released.items() if name.startswith("I2SB"))
        assert f"from {bridge.rate_min:g} towards {bridge.rate_max:g}" in said
        cold = ColdBlur(SHAPE)
        (said,) = (cell for name, cell in released.items() if name.startswith("cold"))
        assert f"by {cold.levels} kernels" in said
        assert f"{cold.blur_sigma(1 / cold.levels).item():.2f} + i / 100" in said


def network_of(recipe):
    with torch.device("meta"):
        network = recipe.network((3, 32, 32))
    assert isinstance(network, UNet)
    return network


def test_the_flags_make_ddpms_network():
    """35.7 M parameters, as the released script says of its own."""
    row = rows("DDPM")["network"]
    (flags,) = re.findall(r"`(--network[^`]+)`", row["unmelt, `cifar10_ddpm`"])
    recipe = parse(config("cifar10_ddpm"), shlex.split(flags))
    count = sum(p.numel() for p in network_of(recipe).parameters()) / 1e6
    assert f"{count:.1f} M" == re.findall(r"[\d.]+ M", row["released code"])[0] == "35.7 M"
    assert f"has {count:.1f} M" in row["unmelt, `cifar10_ddpm`"]


def smooth(z, t, condition=None):
    return torch.tanh(z + 0.2 * z.roll(1, -1)) * (1 - 0.3 * t.to(z.dtype).view(-1, 1, 1, 1))


class Smooth(torch.nn.Module):
    """An estimate of the data that is linear in nothing."""

    forward = staticmethod(smooth)


def test_independent_steps_without_noise_are_cold_diffusions_first_algorithm():
    """Bansal et al. (2023): the estimate is degraded again, to one level less: x_{s-1} = D(x_hat, s - 1)."""
    process = ColdBlur(SHAPE)
    z = torch.randn((3, *SHAPE), generator=seeded(), dtype=torch.float64)
    prior = DegradedDataPrior.fit(process, torch.rand((2, *SHAPE), generator=seeded()))
    denoiser = Denoiser(Smooth(), process, prediction=PredictX())
    sampler = Sampler(denoiser, Posterior(Independent()), UniformGrid(), prior)
    found = sampler.sample(3, initial=z, generator=seeded())
    for level in range(50, 0, -1):
        estimate = smooth(z, torch.full((3,), level / 50))
        (z,) = process.degrade(estimate, (level - 1) / 50)
    torch.testing.assert_close(found, estimate, rtol=0, atol=1e-6)


def test_ir_sdes_posterior_step():
    """Its reverse_optimum_step: of x - mu, with A, B, C = exp(-theta) of the step, to t, and to s."""
    schedule = LinearSchedule(0.1, 8.0)
    process = TowardsMean(IsotropicDiffusion(SHAPE, ScaledNoise(schedule, 10 / 255)))
    x, mu, z = (torch.randn((2, *SHAPE), generator=seeded(k), dtype=torch.float64) for k in range(3))
    for s, t in itertools.pairwise((0.1, 0.4, 0.9)):
        b, c = (schedule.log_alpha(torch.tensor(time, dtype=torch.float64)).exp().item() for time in (t, s))
        a = b / c
        mean = mu + (a * (1 - c**2) * (z - mu) + c * (1 - a**2) * (x - mu)) / (1 - b**2)
        spread = 10 / 255 * math.sqrt((1 - a**2) * (1 - c**2) / (1 - b**2))
        q = process.posterior(z, x, s, t, given=mu)
        torch.testing.assert_close(q.mean, mean, rtol=0, atol=1e-12)
        assert q.spectral_stddev.item() == pytest.approx(spread, rel=1e-9)


def test_samples_are_rounded_to_the_nearest_integer(tmp_path):
    """Where the released code cuts off: 100.7 of 255 is 101 and not 100."""
    values = torch.tensor([100.2, 100.7, -3.0, 300.0]) / 255
    save_images(tmp_path, values.view(1, 1, 2, 2), (0.0, 1.0), 0)
    with Image.open(tmp_path / "000000.png") as image:
        assert list(image.tobytes()) == [100, 101, 0, 255]


class TestPage:
    def test_its_code_runs_from_top_to_bottom(self):
        names: dict[str, object] = {}
        with contextlib.redirect_stdout(io.StringIO()):
            for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
                exec(compile(block, "reproducing_the_papers.md", "exec"), names)  # noqa: S102
        assert {name: image.shape for name, image in names["drawn"].items()} == dict.fromkeys(
            ("inverse heat dissipation", "cold diffusion", "DDPM"), (2, 3, 16, 16)
        )
        assert all(image.isfinite().all() for image in names["drawn"].values())

    def test_the_tests_it_names_are_there(self):
        named = set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE))
        assert len(named) > 30
        for file, name in named:
            tree = ast.parse((ROOT / file).read_text())
            defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert not name or name in defined, (file, name)

    def test_every_row_says_what_holds_it(self):
        for title, number in (("Inverse heat dissipation", 1), ("DDPM", 0), ("Blurring diffusion", 0), ("Others", 0)):
            for name, row in rows(title, number).items():
                assert "`tests/" in row["held by"] or row["held by"] == "this page's test", name

    @pytest.mark.parametrize(
        ("title", "number", "column", "recipe"),
        [
            ("Inverse heat dissipation", 1, "unmelt, `cifar10_heat`", "cifar10_heat"),
            ("DDPM", 0, "unmelt, `cifar10_ddpm`", "cifar10_ddpm"),
        ],
    )
    def test_the_recipe_takes_its_flags(self, title, number, column, recipe):
        flags = [f for row in rows(title, number).values() for f in re.findall(r"`(--[^`]+)`", row[column])]
        assert len(flags) >= 2
        for each in flags:
            assert parse(config(recipe), shlex.split(each)) != config(recipe)

    def test_the_commands_in_its_tables_have_their_flags(self, capsys):
        for command, flag in re.findall(r"`unmelt (\w+) [^`]*?(--[\w-]+)[^`]*`", PAGE):
            with contextlib.suppress(SystemExit):
                main([command, *(["cifar10_heat"] if command == "train" else []), "--help"])
            assert flag in capsys.readouterr().out

    def test_recipes_that_it_names_are_there(self):
        named = set(re.findall(r"`(\w+_(?:heat|ddpm|blurring))`", PAGE))
        assert len(named) == 9
        assert not [name for name in named if not (ROOT / "recipes" / f"{name}.py").is_file()]

    def test_every_code_it_judges_has_its_commit(self):
        for title in ("Inverse heat dissipation", "DDPM", "Blurring diffusion"):
            assert re.search(r"at [0-9a-f]{7}\b", section(title))
        for name, row in rows("Others").items():
            assert re.search(r"\b[0-9a-f]{7}:", row["released code"]) or row["released code"] == "none found", name
