"""Configurations: through JSON and back unchanged, strict about names, and a command line that explains itself."""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch

import unmelt
from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    HeatDissipation,
    IsotropicDiffusion,
    LinearSchedule,
    PredictPreviousLevel,
    PredictX,
)
from unmelt.losses import (
    Antithetic,
    BoundWeighting,
    EDMWeighting,
    LevelTimes,
    LossHistoryBins,
    LossHistoryTimes,
    MeanOverDimensions,
    MinSNRWeighting,
    P2Weighting,
    SigmoidWeighting,
    SimpleWeighting,
    Stratified,
    UniformTimes,
)
from unmelt.training import (
    BlurringConfig,
    CustomConfig,
    DataConfig,
    DataSource,
    HeatConfig,
    IsotropicConfig,
    LossConfig,
    NetworkConfig,
    OptimizerConfig,
    Precision,
    PredictionKind,
    RunConfig,
    ScheduleKind,
    TimesKind,
    Trainer,
    TrainingConfig,
    WeightingKind,
)
from unmelt.training.config import config_from_json, config_to_json
from unmelt.training.launch import parse

RECIPES = sorted((Path(unmelt.__file__).parent / "recipes").glob("*.py"))


def load(path):
    specification = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(params=RECIPES, ids=lambda path: path.stem)
def recipe(request):
    return load(request.param)


def leaves(settings, path=""):
    """Return (path, value) of every setting that is not a group of settings, but the process's family."""
    found = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            found += leaves(value, f"{path}{field.name}.")
        elif field.name != "family":
            found.append((path + field.name, value))
    return found


class TestJson:
    def test_every_recipe_comes_back_unchanged(self, recipe):
        assert config_from_json(config_to_json(recipe.RECIPE)) == recipe.RECIPE

    @pytest.mark.parametrize(
        "changes",
        [
            {"process": IsotropicConfig(schedule=ScheduleKind.LINEAR)},
            {"process": BlurringConfig(blur_sigma_max=3.0)},
            {"process": CustomConfig(target="somewhere:Fog")},
            {"process": HeatConfig(levels=7)},
            {"data": DataConfig(DataSource.FOLDER, folder=Path("somewhere/else"), low=-1.0, flip=True)},
            {"network": NetworkConfig(multipliers=(1,), attention_levels=())},
            {"training": TrainingConfig(precision=Precision.BF16, compile=True)},
            {"loss": LossConfig(weighting=WeightingKind.SIGMOID, sigmoid_bias=-2.0, times=TimesKind.STRATIFIED)},
            {"loss": LossConfig(measure=PredictionKind.V, learned_log_variance=True)},
            # No clipping: JSON has no infinity, but a configuration may.
            {"optimizer": OptimizerConfig(clip=float("inf"))},
            {"name": "naïve run", "root": Path("/elsewhere")},
        ],
        ids=str,
    )
    def test_every_kind_of_setting_comes_back_unchanged(self, config, changes):
        config = dataclasses.replace(config, **changes)
        again = config_from_json(config_to_json(config))
        assert again == config
        assert type(again.process) is type(config.process)

    def test_it_is_json_that_people_can_read(self, config):
        written = config_to_json(config)
        assert json.loads(written)["prediction"] == "less-degraded"
        assert "\n  " in written

    @pytest.mark.parametrize(
        "group", [None, "process", "data", "loss", "network", "optimizer", "training", "sampling"], ids=str
    )
    def test_an_unknown_name_is_refused_by_name(self, config, group):
        values = json.loads(config_to_json(config))
        (values[group] if group else values)["learning_rat"] = 1
        with pytest.raises(ValueError, match=rf"{f'{group}.*' if group else ''}learning_rat\s+Unexpected"):
            config_from_json(json.dumps(values))

    @pytest.mark.parametrize(
        ("group", "name", "value"),
        [
            ("training", "steps", "many"),
            ("network", "multipliers", 2),
            ("data", "source", "imagenet"),
            ("process", "family", "fog"),
            ("optimizer", "learning_rate", None),
        ],
    )
    def test_a_wrong_value_is_refused_by_name(self, config, group, name, value):
        values = json.loads(config_to_json(config))
        values[group][name] = value
        # Pydantic puts the name on a line of its own, and an unknown family beneath it.
        with pytest.raises(
            ValueError, match=rf"{group}\.(heat\.)?{name}\s" if name != "family" else rf"{group}\s.*'fog'"
        ):
            config_from_json(json.dumps(values))

    def test_a_missing_setting_is_refused_by_name(self, config):
        values = json.loads(config_to_json(config))
        del values["prediction"]
        with pytest.raises(ValueError, match=r"prediction\s+Field required"):
            config_from_json(json.dumps(values))


class TestProcesses:
    def test_settings_reach_the_process(self):
        shape = (1, 4, 4)
        heat = HeatConfig(blur_sigma_max=5.0, blur_sigma_min=0.25, levels=9, sigma=0.125).build(shape)
        expected = HeatDissipation(shape, blur_sigma_max=5.0, blur_sigma_min=0.25, levels=9, sigma=0.125)
        assert heat.agrees_with(expected)
        blurring = BlurringConfig(blur_sigma_max=5.0, min_scale=0.25).build(shape)
        assert blurring.agrees_with(BlurringDiffusion(shape, blur_sigma_max=5.0, min_scale=0.25))
        for kind, schedule in ((ScheduleKind.COSINE, CosineSchedule()), (ScheduleKind.LINEAR, LinearSchedule())):
            process = IsotropicConfig(schedule=kind).build(shape)
            assert process.agrees_with(IsotropicDiffusion(shape, schedule))

    def test_the_defaults_of_a_configuration_are_those_of_its_class(self):
        shape = (1, 4, 4)
        assert HeatConfig().build(shape).agrees_with(HeatDissipation(shape))
        assert BlurringConfig().build(shape).agrees_with(BlurringDiffusion(shape))
        assert IsotropicConfig().build(shape).agrees_with(IsotropicDiffusion(shape))


class TestLosses:
    @pytest.mark.parametrize(
        ("kind", "made"),
        [
            (WeightingKind.SIMPLE, SimpleWeighting()),
            (WeightingKind.BOUND, BoundWeighting()),
            (WeightingKind.SIGMOID, SigmoidWeighting(-1.0)),
            (WeightingKind.MIN_SNR, MinSNRWeighting(3.0)),
            (WeightingKind.P2, P2Weighting()),
            (WeightingKind.EDM, EDMWeighting()),
        ],
    )
    def test_settings_reach_the_weighting(self, kind, made):
        config = LossConfig(weighting=kind, sigmoid_bias=-1.0, min_snr_gamma=3.0)
        assert config.build(IsotropicDiffusion((1, 4, 4)), PredictX(), MeanOverDimensions()).weighting == made

    @pytest.mark.parametrize(
        ("kind", "levels", "continuous"),
        [
            (TimesKind.INDEPENDENT, LevelTimes, UniformTimes),
            (TimesKind.STRATIFIED, Stratified, Stratified),
            (TimesKind.ANTITHETIC, Antithetic, Antithetic),
            (TimesKind.LOSS_HISTORY, LossHistoryTimes, LossHistoryBins),
        ],
    )
    def test_settings_reach_the_times(self, kind, levels, continuous):
        config = LossConfig(times=kind)
        heat = config.build(HeatDissipation((1, 4, 4), levels=7), PredictX(), MeanOverDimensions()).times
        cosine = config.build(IsotropicDiffusion((1, 4, 4)), PredictX(), MeanOverDimensions()).times
        assert (type(heat), type(cosine)) == (levels, continuous)
        drawn = heat.sample(50, device=torch.device("cpu")) * 7
        # Levels, whatever the way of drawing them.
        torch.testing.assert_close(drawn, drawn.round(), rtol=0, atol=1e-12)

    def test_what_does_not_go_together_is_told(self):
        with pytest.raises(ValueError, match="loss.measure=v is for the simple weighting"):
            LossConfig(weighting=WeightingKind.P2, measure=PredictionKind.V).build(
                IsotropicDiffusion((1, 4, 4)), PredictX(), MeanOverDimensions()
            )
        with pytest.raises(ValueError, match="log-normal times are for continuous time.*7 levels"):
            LossConfig(times=TimesKind.LOG_NORMAL).build(
                HeatDissipation((1, 4, 4), levels=7), PredictX(), MeanOverDimensions()
            )
        # Under heat the noise-to-signal ratio of a high frequency has no finite square at the last levels.
        with pytest.raises(ValueError, match="EDMWeighting multiplies the error of PredictPreviousLevel by"):
            LossConfig(weighting=WeightingKind.EDM).build(
                HeatDissipation((1, 32, 32)), PredictPreviousLevel(), MeanOverDimensions()
            )

    def test_a_loss_that_is_refused_leaves_no_run_behind(self, config, splits):
        refused = dataclasses.replace(config, loss=LossConfig(times=TimesKind.LOG_NORMAL))
        with pytest.raises(ValueError, match="log-normal"):
            Trainer(refused, splits)
        assert not config.folder.exists()

    def test_a_learned_log_variance_is_trained_and_stored(self, training, splits):
        """Its parameters are part of what the optimizer moves, and of the checkpoint that a run resumes from."""
        loss = LossConfig(learned_log_variance=True, times=TimesKind.LOSS_HISTORY)
        config = dataclasses.replace(training(steps=3), loss=loss)
        trainer = Trainer(config, splits)
        trainer.train()
        learned = trainer.objective.loss.uncertainty.linear.weight
        assert learned.abs().max() > 0
        resumed = Trainer(dataclasses.replace(config, training=training(steps=4).training), splits, resume=True)
        assert torch.equal(resumed.objective.loss.uncertainty.linear.weight, learned)
        states = (trainer.objective.loss.times.state_dict(), resumed.objective.loss.times.state_dict())
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert sum(value.numel() for value in states[0].values()) > 0


class TestCommandLine:
    def test_help_names_and_explains_every_setting(self, recipe, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as caught:
            parse(recipe.RECIPE, recipe.__doc__, ["--help"])
        assert caught.value.code == 0
        text = re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", capsys.readouterr().out))
        first_line = recipe.__doc__.splitlines()[0]
        assert first_line in text
        for path, _ in leaves(recipe.RECIPE):
            group, _, name = path.replace("_", "-").rpartition(".")
            flag = rf"--{group}\.(no-)?{name}" if group else rf"--(no-)?{name}"
            explanation = re.search(rf"{flag} (?P<words>.*?)\(default: ", text)
            assert explanation, path
            # A sentence, after the type or the choices.
            assert re.search(r"[A-Z][a-z]+.*\. $", explanation["words"]), path
        assert re.search(r"--resume.{0,30} Go on with the newest checkpoint", text)

    def test_settings_given_replace_the_recipe_s_and_no_others(self, config):
        command = parse(
            config,
            None,
            [
                *("--training.steps", "5", "--network.multipliers", "1", "2", "3", "--process.sigma", "0.5"),
                *("--data.source", "folder", "--data.folder", "some/where", "--prediction", "v", "--resume"),
                *("--sampling.delta", "None", "--optimizer.learning-rate", "1e-3"),
            ],
        )
        assert command.resume
        expected = dataclasses.replace(
            config,
            training=dataclasses.replace(config.training, steps=5),
            network=dataclasses.replace(config.network, multipliers=(1, 2, 3)),
            process=dataclasses.replace(config.process, sigma=0.5),
            data=dataclasses.replace(config.data, source=DataSource.FOLDER, folder=Path("some/where")),
            prediction=type(config.prediction)("v"),
            sampling=dataclasses.replace(config.sampling, delta=None),
            optimizer=dataclasses.replace(config.optimizer, learning_rate=1e-3),
        )
        assert command.run == expected

    def test_nothing_given_is_the_recipe(self, recipe):
        command = parse(recipe.RECIPE, recipe.__doc__, [])
        assert command.run == recipe.RECIPE
        assert not command.resume

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--training.stepz", "5"], "--training.steps"),
            (["--training.steps", "many"], "many"),
            (["--prediction", "noise"], "less-degraded"),
            (["--process.family", "isotropic"], "--process.family"),
        ],
    )
    def test_what_it_does_not_know_ends_it_with_an_explanation(self, config, arguments, words, capsys):
        with pytest.raises(SystemExit) as caught:
            parse(config, None, arguments)
        assert caught.value.code not in (0, None)
        assert words in capsys.readouterr().err

    @pytest.mark.parametrize("flag", ["--training.cpu", "--training.no-cpu"])
    def test_a_switch_can_be_set_either_way_whatever_the_recipe_says(self, config, flag):
        assert parse(config, None, [flag]).run.training.cpu == (flag == "--training.cpu")


class TestRunConfig:
    def test_the_folder_is_root_and_name(self, config):
        assert dataclasses.replace(config, root=Path("a/b"), name="c").folder == Path("a/b/c")

    def test_configurations_cannot_be_changed_by_accident(self, config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.name = "other"
        assert isinstance(config, RunConfig)
