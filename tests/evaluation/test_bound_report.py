"""The bound over a data set: its means and standard errors, whatever the batches and however many processes."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import unmelt
from unmelt.degradations import (
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    PredictX,
)
from unmelt.evaluation import Figure, evaluate_bound
from unmelt.losses import ELBO, MonteCarlo
from unmelt.models import Denoiser, GaussianDecoder, GaussianOracle, GreyLevels, OraclePrior, UNet

SHAPE = (1, 4, 4)
LEVELS = GreyLevels(count=17, low=0.0, high=1.0)
# Two processes on one core, importing everything.
SECONDS = 120

SCRIPT = """
import json, os, sys
import torch
from torch import distributed
sys.path.insert(0, {tests!r})
from test_bound_report import problem
from unmelt.evaluation import evaluate_bound

torch.set_num_threads(1)
distributed.init_process_group("gloo")
bound, x = problem()
if sys.argv[1] == "nan" and distributed.get_rank() == 1:
    bound.denoiser.variance.fill_(torch.nan)
try:
    report = evaluate_bound(bound, x, batch_size=8, progress=False).to_json()
except Exception as error:
    report = f"{{type(error).__name__}}: {{error}}"
with open(f"rank{{distributed.get_rank()}}.json", "w") as file:
    json.dump(report, file)
distributed.destroy_process_group()
"""


def problem():
    process = HeatDissipation(SHAPE, blur_sigma_max=2.0, levels=5, sigma=0.1)
    generator = torch.Generator().manual_seed(0)
    oracle = GaussianOracle(process, torch.rand(SHAPE, generator=generator), torch.rand(SHAPE, generator=generator))
    x = torch.randint(0, 17, (41, *SHAPE), generator=generator, dtype=torch.uint8)
    decoder = GaussianDecoder(process, 0.1, grey_levels=LEVELS)
    return ELBO(oracle, prior=OraclePrior(oracle), decoder=decoder, coupling=Independent()), x


def test_the_report_is_of_the_means_over_examples():
    bound, x = problem()
    report = evaluate_bound(bound, x, batch_size=41, seed=3, progress=False)
    again = evaluate_bound(bound, x, batch_size=41, seed=3, progress=False)
    assert report == again
    assert report != evaluate_bound(bound, x, batch_size=41, seed=4, progress=False)
    assert report.count == 41
    assert report.dimensions == 16
    assert report.steps == 4
    nats, bits = report.nats, report.bits_per_dim()
    assert nats.total.mean == pytest.approx(nats.prior.mean + nats.diffusion.mean + nats.reconstruction.mean)
    assert nats.diffusion.mean == pytest.approx(sum(level.mean for level in nats.per_level))
    assert report.times == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert bits.total.mean == pytest.approx(nats.total.mean / (16 * math.log(2)))
    assert bits.per_level[2].stderr == pytest.approx(nats.per_level[2].stderr / (16 * math.log(2)))


def test_standard_errors_are_those_of_a_mean_of_examples(monkeypatch):
    bound, x = problem()
    seen = []
    forward = ELBO.forward

    def watched(self, *arguments, **settings):
        seen.append(forward(self, *arguments, **settings))
        return seen[-1]

    monkeypatch.setattr(ELBO, "forward", watched)
    report = evaluate_bound(bound, x, batch_size=10, progress=False)
    assert len(seen) == 5
    for name in ("total", "prior", "diffusion", "reconstruction"):
        values = torch.cat([getattr(found, name) for found in seen])
        figure = getattr(report.nats, name)
        assert figure.mean == pytest.approx(values.mean().item(), rel=1e-12)
        assert figure.stderr == pytest.approx(values.std().item() / math.sqrt(41), rel=1e-9)


@pytest.mark.full
def test_no_two_batches_meet_the_same_noise():
    """Shared noise would not average out, and the standard error would not know."""
    bound, x = problem()
    same = x[:1].expand(400, -1, -1, -1)
    spread = [evaluate_bound(bound, same, batch_size=size, progress=False).nats.diffusion.stderr for size in (400, 1)]
    # One image: all spread is the noise's, whatever the batches; standard errors of 400 are right to 3.5 %.
    assert spread[1] == pytest.approx(spread[0], rel=0.25)


def test_streams_of_batches_are_data_too():
    bound, x = problem()
    whole = evaluate_bound(bound, x, batch_size=10, progress=False)
    assert evaluate_bound(bound, iter(x.split(10)), progress=False) == whole
    with pytest.raises(ValueError, match="no data to evaluate"):
        evaluate_bound(bound, [], progress=False)


def test_estimates_have_no_levels_to_report():
    process = IsotropicDiffusion(SHAPE)
    oracle = GaussianOracle(process, torch.zeros(SHAPE), torch.ones(SHAPE))
    bound = ELBO(oracle, summation=MonteCarlo(draws=4, replicates=1))
    report = evaluate_bound(bound, torch.rand(6, *SHAPE), progress=False)
    assert report.nats.per_level == ()
    assert report.steps is None
    # Densities have bits only where levels are given.
    with pytest.raises(ValueError, match="depend on the number of levels"):
        report.bits_per_dim()
    assert report.bits_per_dim(LEVELS).total.mean == pytest.approx(report.nats.total.mean / (16 * math.log(2)) + 4)
    assert "bits_per_dim" not in report.to_json()
    json.dumps(report.to_json(), allow_nan=False)


def test_a_nan_ends_it_with_its_level():
    exact, x = problem()
    network = torch.nn.Module()
    network.forward = lambda z, t, condition: z / torch.where(t > 0.9, 0.0, 1.0).reshape(-1, 1, 1, 1) * 0
    denoiser = Denoiser(network, exact.process, prediction=PredictX())
    bound = ELBO(denoiser, prior=exact.prior, decoder=exact.decoder, coupling=Independent())
    with pytest.raises(FloatingPointError, match="at level 5 of 5"):
        evaluate_bound(bound, x, progress=False)


def test_figures_show_the_digits_that_their_error_leaves():
    assert str(Figure(3.14159, 0.0123)) == "3.142 +- 0.012"
    assert str(Figure(312.7, 14.2)) == "313 +- 14"
    assert str(Figure(0.5, math.nan)) == "0.5"
    assert str(Figure(6.04e-11, 3.3e-11)) == "6.0e-11 +- 3.3e-11"


def test_a_denoiser_in_training_mode_is_evaluated_without_dropout_and_left_as_it_was():
    process = IsotropicDiffusion(SHAPE)
    network = UNet(SHAPE, channels=8, multipliers=(1,), blocks=1, attention_levels=(), dropout=0.5)
    # Each branch ends in a convolution that starts at zero: without this nothing that happens before it would show.
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    denoiser = Denoiser(network.train(), process, prediction=PredictX())
    bound, x = ELBO(denoiser, steps=3), torch.rand(4, *SHAPE)
    first = evaluate_bound(bound, x, progress=False)
    assert denoiser.training
    assert network.last.training
    fitted = bound.fitted(x, generator=torch.Generator().manual_seed(0))
    assert denoiser.training
    denoiser.eval()
    assert evaluate_bound(bound, x, progress=False) == first
    again = bound.fitted(x, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fitted.reverse_std.log_stddev, again.reverse_std.log_stddev)
    assert not denoiser.training


@pytest.mark.usefixtures("as_in_production")
def test_what_is_no_data_is_told():
    bound, x = problem()
    with pytest.raises(TypeError, match="a batch must be a Tensor, alone, with its condition, or with that and"):
        evaluate_bound(bound, ["x"], progress=False)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        evaluate_bound(bound, x, batch_size=0, progress=False)
    with pytest.raises(TypeError, match="bound must be an ELBO"):
        evaluate_bound(bound.denoiser, x, progress=False)


def run_two(folder, mode):
    script = folder / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    environment = {"PYTHONPATH": str(Path(unmelt.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, mode]
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.full
def test_two_processes_find_what_one_finds(tmp_path):
    bound, x = problem()
    alone = evaluate_bound(bound, x, batch_size=8, progress=False).to_json()
    first, second = run_two(tmp_path, "fine")
    assert first == second
    assert first["count"] == 41
    for name in ("total", "prior", "diffusion", "reconstruction"):
        # Sums in another order, in float64.
        assert first["nats"][name] == pytest.approx(alone["nats"][name], rel=1e-12)


@pytest.mark.full
def test_a_process_that_fails_takes_the_other_along(tmp_path):
    failed = run_two(tmp_path, "nan")
    assert failed[0].startswith("RuntimeError: process 1 of 2 failed: ValueError: log_prob needs a density")
    assert failed[1].startswith("ValueError: log_prob needs a density")


def test_conditions_come_with_their_batches():
    exact, x = problem()
    network = torch.nn.Module()
    network.forward = lambda z, t, condition: condition
    bound = ELBO(
        Denoiser(network, exact.process, prediction=PredictX()),
        prior=exact.prior,
        decoder=exact.decoder,
        coupling=Independent(),
    )
    told = x.float() / 16
    by_pairs = evaluate_bound(bound, [(x[:20], told[:20]), (x[20:], told[20:])], progress=False).nats
    # The estimate is off by where the dequantised data lie in their cells alone, at most half a cell.
    assert by_pairs.diffusion.mean < bound(x, condition=torch.zeros_like(told)).diffusion.mean() / 10
