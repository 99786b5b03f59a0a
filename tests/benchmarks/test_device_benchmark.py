"""The benchmark of devices: that it runs on a CPU, what it judges numbers by, and what it knows of devices."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import ENVIRONMENT

import unmelt

ROOT = Path(unmelt.__file__).parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from on_device.judging import judge  # noqa: E402
from on_device.peaks import flop_of_a_training_image, peak_of_name  # noqa: E402

from unmelt.degradations import IsotropicDiffusion, PredictEpsilon  # noqa: E402
from unmelt.losses import DenoisingLoss  # noqa: E402
from unmelt.models import Denoiser, UNet  # noqa: E402

PARTS = [
    "same_numbers",
    "less_precision",
    "training_speed",
    "sampling_speed",
    "transform_bandwidth",
    "waiting",
    "real_training",
]


def run(*flags):
    command = [sys.executable, str(ROOT / "benchmarks" / "device.py"), "--cpu", "--smoke", *flags]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.full
def test_all_parts_run_and_write_their_numbers(tmp_path):
    finished = run("--json", str(tmp_path / "found.json"))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found) == ["machine", "failures", "same_numbers", "seconds", *PARTS[1:]]
    assert found["failures"] == []
    assert not [part for part in PARTS if "error" in found[part]]
    assert found["same_numbers"]["compared"] > 40
    assert found["same_numbers"]["off"] == found["same_numbers"]["left_out"] == []
    assert all(one["passed"] for one in found["less_precision"]["compared"])
    variants = found["training_speed"]["variants"]
    assert [one["variant"] for one in variants][:3] == [
        "float32, eager",
        "bfloat16, eager",
        "bfloat16, eager, channels last",
    ]
    assert all(one["images_per_second"] > 0 and one["first_step_s"] > 0 for one in variants)
    assert found["training_speed"]["failed"] == {}
    assert {"float32, eager", "bfloat16, eager"} == set(found["sampling_speed"]["variants"])
    assert found["transform_bandwidth"]["4x3x32x32"]["copy_gb_per_second"] > 0
    kinds = ("training steps", "loss", "sampler steps")
    assert all(any(kind in name for name in found["waiting"]) for kind in kinds)
    assert found["real_training"]["steps"] >= 8
    assert found["real_training"]["share_of_bare"] > 0
    assert (tmp_path / "found.png").stat().st_size > 100


@pytest.mark.full
def test_a_part_that_fails_is_told_and_the_status_says_so(tmp_path):
    breaking = tmp_path / "sitecustomize.py"
    breaking.write_text(
        "import sys, types\n"
        "broken = types.ModuleType('on_device.transform_bandwidth')\n"
        "def measure(bench):\n    raise ValueError('no copy today')\n"
        "broken.measure = measure\n"
        "sys.modules['on_device.transform_bandwidth'] = broken\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}:{ENVIRONMENT['PYTHONPATH']}"}
    script = ROOT / "benchmarks" / "device.py"
    flags = ["--cpu", "--smoke", "--only", "transform_bandwidth", "--json", str(tmp_path / "found.json")]
    command = [sys.executable, str(script), *flags]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 1
    assert "transform_bandwidth: ValueError: no copy today" in finished.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["failures"] == ["transform_bandwidth: ValueError: no copy today"]
    assert "no copy today" in found["transform_bandwidth"]["error"]


class TestJudge:
    truth = torch.linspace(-2.0, 2.0, 100, dtype=torch.float64)
    ours = truth.float()

    def test_other_rounding_passes_and_more_does_not(self):
        size = self.truth.square().mean().sqrt().item()
        for error, passed in ((1e-7, True), (5e-6, False)):
            found = judge("it", self.truth, self.ours, (self.truth + error * size).float())
            assert found.passed == passed
            # Rounding to float32 adds its own.
            assert found.error == pytest.approx(error, abs=1e-7)

    def test_what_is_infinite_must_be_so_on_both_sides(self):
        infinite = torch.where(self.truth > 1, torch.inf, self.truth)
        assert judge("it", infinite, infinite.float(), infinite.float()).passed
        assert not judge("it", infinite, infinite.float(), self.ours).passed
        assert not judge("it", self.truth, self.ours, infinite.float()).passed
        assert not judge("it", self.truth, self.ours, torch.where(self.truth > 1, torch.nan, self.ours)).passed


@pytest.mark.parametrize(
    ("name", "bf16"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H200", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_peaks_are_those_of_the_data_sheets(name, bf16):
    peak = peak_of_name(name)
    assert (peak and peak.bf16) == bf16


def test_arithmetic_of_a_training_image_is_three_times_that_of_a_forward_pass():
    """Two products backward for each one forward, but for the first layer's, whose input needs no gradient."""
    shape = (1, 8, 8)
    network = UNet(shape, channels=8, multipliers=(1,), blocks=1, attention_levels=(0,))
    loss = DenoisingLoss(Denoiser(network, IsotropicDiffusion(shape), prediction=PredictEpsilon()))
    x = torch.rand(1, *shape)
    with torch.no_grad():
        pixels = 64
        convolutions = [(m.weight.numel(), pixels) for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
        linear = [(m.weight.numel(), 1) for m in network.modules() if isinstance(m, torch.nn.Linear)]
        attention = sum(2 * 8 * pixels**2 for m in network.modules() if type(m).__name__ == "Attention")
    forward = 2 * (sum(weights * places for weights, places in convolutions + linear) + attention)
    # Of the first convolution and the first linear layer, weights alone have gradients.
    inputs = 2 * (network.first.weight.numel() * pixels + network.embed[0].weight.numel())
    assert flop_of_a_training_image(loss, x) == 3 * forward - inputs
