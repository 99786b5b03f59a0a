"""Processes by name: families, modules and files."""

import pickle
import sys

import pytest

from unmelt.degradations import EDMSchedule, HeatDissipation, SpectralDiffusion
from unmelt.degradations.locating import process_from_name, shape_families

MIST = """
from unmelt.degradations import CosineBasis, LinearGaussianProcess


class Mist(LinearGaussianProcess):
    def __init__(self, shape, *, thickness=1.0):
        super().__init__(CosineBasis(shape))
        self.thickness = thickness

    def log_alpha(self, t):
        return -self.thickness * self.expand_times(t)

    def log_sigma(self, t):
        return self.expand_times(t) - 3


def thick(shape):
    return Mist(shape, thickness=5.0)


number = 3
"""


@pytest.fixture
def mist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (tmp_path / "mist_of_a_user.py").write_text(MIST)
    yield tmp_path
    sys.modules.pop("mist_of_a_user", None)


@pytest.mark.parametrize("name", shape_families())
def test_every_listed_family_is_made_from_a_shape(name):
    process = process_from_name(name, (1, 4, 4))
    assert type(process).__name__ == name
    assert process.shape == (1, 4, 4)


def test_the_list_holds_the_families_of_the_papers():
    assert {"HeatDissipation", "IsotropicDiffusion", "BlurringDiffusion", "Pixelation"} <= set(shape_families())
    # They need a blur, a basis, a Laplacian.
    assert not {"GaussianBlur", "SequentialMasking", "GraphHeat"} & set(shape_families())


def test_settings_are_passed_on():
    process = process_from_name("HeatDissipation(blur_sigma_max=3.0, levels=7)", (1, 4, 4))
    assert process.agrees_with(HeatDissipation((1, 4, 4), blur_sigma_max=3.0, levels=7))
    power = process_from_name("SpectralDiffusion.power_law(exponent=-1.0)", (1, 4, 4))
    assert power.agrees_with(SpectralDiffusion.power_law((1, 4, 4), -1.0))
    edm = process_from_name("IsotropicDiffusion(schedule=EDMSchedule(0.01, rho=5.0))", (1, 4, 4))
    assert edm.schedule == EDMSchedule(0.01, rho=5.0)
    cold = process_from_name("ColdBlur(blur=repeated_blur((0.5, 1.0)))", (1, 4, 4))
    assert cold.levels == 2


@pytest.mark.parametrize("where", ["mist_of_a_user", "mist_of_a_user.py", "./mist_of_a_user.py"])
def test_a_class_of_ones_own_in_a_module_or_a_file(mist, where):
    process = process_from_name(f"{where}:Mist(thickness=2.0)", (1, 4, 4))
    assert type(process).__name__ == "Mist"
    assert process.log_alpha(1.0).item() == -2.0
    assert process.agrees_with(pickle.loads(pickle.dumps(process)))


def test_a_file_is_loaded_once_so_that_its_classes_are_the_same(mist):
    first, second = (process_from_name("mist_of_a_user.py:Mist", (1, 4, 4)) for _ in range(2))
    assert type(first) is type(second)
    assert first.agrees_with(second)


def test_a_function_that_makes_a_process(mist):
    assert process_from_name("mist_of_a_user:thick", (1, 4, 4)).thickness == 5.0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("HeatDisipation", "no process called 'HeatDisipation': the families are .*HeatDissipation"),
        ("nowhere:Mist", "no process called 'nowhere:Mist': nowhere cannot be imported"),
        ("nowhere.py:Mist", "no process called 'nowhere.py:Mist': nowhere.py cannot be imported"),
        ("mist_of_a_user:Fog", "no process called 'mist_of_a_user:Fog': mist_of_a_user has no Fog"),
        ("mist_of_a_user:number", "no process called"),
        (":Mist", "no process called ':Mist'"),
        ("mist_of_a_user:", "no process called"),
        (
            "HeatDissipation(width=3)",
            r"cannot be made .*'width': 3.*its arguments are shape, \*?,? ?.*blur_sigma_max",
        ),
        ("GraphHeat", "cannot be made from a shape and nothing else: missing a required argument: 'laplacian'"),
        ("builtins:list", "builtins:list makes a list, not a LinearGaussianProcess"),
        ("builtins:min", "builtins:min makes a int, not a LinearGaussianProcess"),
        ("HeatDissipation(levels", "cannot read the settings of 'HeatDissipation.levels'"),
        ("HeatDissipation(3.0)", "cannot read the settings"),
        ("IsotropicDiffusion(schedule=open('x'))", "unmelt.degradations has no open"),
        ("IsotropicDiffusion(schedule='cosine')", "IsotropicDiffusion cannot be made.*schedule"),
        ("IsotropicDiffusion(schedule=EDMSchedule(row=5.0))", "cannot read the settings.*row"),
        ("HeatDissipation(levels=1)", "levels must be at least 2"),
    ],
)
def test_what_cannot_be_found_or_made_is_said(mist, target, message):
    with pytest.raises(ValueError, match=message):
        process_from_name(target, (1, 4, 4))


def test_an_error_inside_a_file_is_its_own_and_leaves_nothing_behind(mist):
    (mist / "broken_of_a_user.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        process_from_name("broken_of_a_user.py:Mist", (1, 4, 4))
    assert "broken_of_a_user" not in sys.modules
