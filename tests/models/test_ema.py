"""The moving average: its closed form, its state, and its indifference to whatever wraps the trained model."""

import copy

import pytest
import torch
from support import LearnedHeat, SoftNetwork
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from unmelt.degradations import HeatDissipation, PredictX
from unmelt.models import EMA, Denoiser, UNet


class Tracked(nn.Module):
    """Parameters of several shapes, and a running statistic."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(self.scale * self.linear(x))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Tracked()


def drift(model, seed):
    """Move the parameters and the running statistics, as a training step does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    model.norm.running_mean.copy_(torch.randn(3, generator=generator))


def values(module):
    return [p.detach().clone() for p in module.parameters()]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


class TestAverage:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
    def test_the_closed_form_with_its_ramp(self, model, decay, dtype):
        model = model.to(dtype)
        ema = EMA(model, decay)
        history = [[p.double() for p in values(model)]]
        for n in range(30):
            drift(model, n)
            ema.update(model)
            history.append([p.double() for p in values(model)])
        # The weight of history k is its share when it came, times every decay since.
        decays = [min(decay, (1 + n) / (10 + n)) for n in range(30)]
        weights, left = [], 1.0
        for d in reversed(decays):
            weights.append((1 - d) * left)
            left *= d
        weights = [left, *reversed(weights)]
        assert sum(weights) == pytest.approx(1.0, abs=1e-12)
        for i, ours in enumerate(values(ema.model)):
            expected = sum(w * state[i] for w, state in zip(weights, history, strict=True))
            assert ours.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
            # Thirty float32 interpolations between numbers up to ~20.
            torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_a_halved_model_is_followed_by_a_thousandth_at_a_time(self, dtype):
        model = nn.Linear(1, 1, bias=False, dtype=dtype)
        nn.init.ones_(model.weight)
        ema = EMA(model, 0.999)
        # Past the ramp.
        ema.updates = 10**6
        nn.init.constant_(model.weight, 2.0)
        for _ in range(100):
            ema.update(model)
        # In the model's own dtype each thousandth would be rounded off. A hundred roundings of float32.
        assert ema.model.weight.item() == pytest.approx(2 - 0.999**100, rel=1e-5)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_a_halved_model_s_buffers_are_float32_too_and_its_own_stay(self, model, dtype):
        model.register_buffer("table", torch.ones(3), persistent=False)
        model.norm.running_mean.fill_(0.1)
        model = model.to(dtype)
        ema = EMA(model, 0.9)
        drift(model, 3)
        ema.update(model)
        held = {name: tensor.dtype for name, tensor in (*ema.named_parameters(), *ema.named_buffers())}
        assert held.pop("model.norm.num_batches_tracked") == torch.long
        assert set(held.values()) == {torch.float32}
        assert torch.equal(ema.model.norm.running_mean, model.norm.running_mean.float())
        assert {p.dtype for p in model.parameters()} == {dtype} == {model.norm.running_var.dtype, model.table.dtype}
        assert ema(torch.zeros(2, 2)).dtype == torch.float32

    def test_what_a_model_holds_twice_stays_one(self):
        tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).to(torch.bfloat16)
        tied[1].weight = tied[0].weight
        average = EMA(tied).model
        assert average[1].weight is average[0].weight
        assert average[0].weight.dtype == torch.float32

    def test_a_decay_of_zero_follows(self, model):
        ema = EMA(model, 0.0)
        drift(model, 1)
        ema.update(model)
        # The interpolation a + 1 (b - a) rounds twice.
        for ours, theirs in zip(values(ema.model), values(model), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)

    def test_the_first_update_has_decay_a_tenth_whatever_is_asked_for(self, model):
        ema = EMA(model, 0.9999)
        before = values(model)
        drift(model, 1)
        ema.update(model)
        for ours, old, new in zip(values(ema.model), before, values(model), strict=True):
            torch.testing.assert_close(ours, 0.1 * old + 0.9 * new, rtol=1e-6, atol=1e-6)

    def test_it_starts_as_the_model(self, model):
        assert_same(values(EMA(model, 0.9).model), values(model))

    def test_running_statistics_are_taken_over(self, model):
        ema = EMA(model, 0.9)
        drift(model, 3)
        ema.update(model)
        assert torch.equal(ema.model.norm.running_mean, model.norm.running_mean)

    def test_it_counts_its_updates(self, model):
        ema = EMA(model, 0.9)
        for _ in range(4):
            ema.update(model)
        assert int(ema.updates) == 4

    def test_the_trained_model_is_untouched(self, model):
        drift(model, 0)
        before, training = values(model), model.training
        pointers = [p.data_ptr() for p in model.parameters()]
        ema = EMA(model, 0.9)
        drift(ema.model, 7)
        ema.update(model)
        ema(torch.zeros(2, 2))
        assert_same(values(model), before)
        assert [p.data_ptr() for p in model.parameters()] == pointers
        assert model.training == training
        assert all(p.requires_grad for p in model.parameters())
        assert not any(p.requires_grad for p in ema.parameters())
        assert not set(pointers) & {p.data_ptr() for p in ema.parameters()}

    def test_an_update_is_no_part_of_the_graph(self, model):
        ema = EMA(model, 0.9)
        ema.update(model)
        assert all(p.grad_fn is None for p in ema.model.parameters())
        model(torch.randn(4, 2)).square().sum().backward()
        assert all(p.grad is None for p in ema.parameters())

    def test_calling_it_calls_the_average(self, model):
        ema = EMA(model, 0.5)
        drift(model, 1)
        ema.update(model)
        x = torch.randn(4, 2)
        assert torch.equal(ema(x), ema.model(x))
        assert not torch.allclose(ema(x), model.eval()(x))

    def test_it_stays_in_evaluation_mode(self, model):
        model.train()
        ema = EMA(model, 0.9)
        assert not ema.model.training
        ema.train()
        nn.ModuleList([ema]).train()
        assert not any(module.training for module in ema.modules())
        statistics = ema.model.norm.running_mean.clone()
        ema(torch.randn(8, 2))
        assert torch.equal(ema.model.norm.running_mean, statistics)


class TestState:
    def test_a_round_trip_goes_on_identically(self, model):
        straight = EMA(model, 0.999)
        for n in range(5):
            drift(model, n)
            straight.update(model)
        state = copy.deepcopy(straight.state_dict())
        torch.manual_seed(9)
        restored = EMA(Tracked(), 0.999)
        restored.load_state_dict(state)
        for n in range(5, 10):
            drift(model, n)
            straight.update(model)
            restored.update(model)
        # The ramp is still rising, so a count begun anew would show.
        assert_same(values(restored.model), values(straight.model))
        assert int(restored.updates) == 10

    def test_the_average_of_a_halved_model_is_loaded_exactly(self, model):
        ema = EMA(model.to(torch.bfloat16), 0.999)
        for n in range(5):
            drift(model, n)
            ema.update(model)
        assert any(not torch.equal(p, p.bfloat16().float()) for p in ema.parameters())
        restored = EMA(Tracked().to(torch.bfloat16), 0.999)
        restored.load_state_dict(copy.deepcopy(ema.state_dict()))
        assert_same(values(restored), values(ema))


def compiled(model, _folder):
    return torch.compile(model, backend="eager")


def compiled_in_place(model, _folder):
    model.compile(backend="eager")
    return model


def distributed(model, folder):
    store = torch.distributed.FileStore(str(folder / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    return DistributedDataParallel(model)


def distributed_and_compiled(model, folder):
    return torch.compile(distributed(model, folder), backend="eager")


@pytest.fixture(params=[compiled, compiled_in_place, distributed, distributed_and_compiled])
def wrap(request, tmp_path):
    yield lambda model: request.param(model, tmp_path)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class TestWrappers:
    def test_updates_from_a_wrapped_model_are_updates_from_the_model(self, model, wrap):
        plain, wrapped = EMA(model, 0.9), EMA(model, 0.9)
        inside = wrap(model)
        for n in range(3):
            drift(model, n)
            plain.update(model)
            wrapped.update(inside)
        assert_same(values(wrapped.model), values(plain.model))
        assert torch.equal(wrapped.model.norm.running_mean, plain.model.norm.running_mean)

    def test_a_wrapped_model_can_be_followed_from_the_start(self, model, wrap):
        names = list(model.state_dict())
        ema = EMA(wrap(model), 0.9)
        assert type(ema.model) is Tracked
        assert list(ema.model.state_dict()) == names
        drift(model, 0)
        ema.update(model)
        # The state of a run without wrappers fits a run with them, and the other way round.
        assert list(ema.state_dict()) == list(EMA(Tracked(), 0.9).state_dict())

    def test_a_module_that_is_merely_named_module_is_no_wrapper(self):
        class Holder(nn.Module):
            def __init__(self):
                super().__init__()
                self.module = nn.Linear(1, 1)
                self.other = nn.Linear(1, 1)

        assert isinstance(EMA(Holder(), 0.9).model, Holder)

    def test_trained_through_a_wrapper(self, model, wrap):
        inside = wrap(model)
        ema = EMA(model, 0.5)
        optimizer = torch.optim.SGD(inside.parameters(), lr=0.1)
        before = values(model)
        inside(torch.randn(8, 2)).square().sum().backward()
        optimizer.step()
        ema.update(inside)
        for ours, old, new in zip(values(ema.model), before, values(model), strict=True):
            torch.testing.assert_close(ours, 0.1 * old + 0.9 * new, rtol=1e-5, atol=1e-6)


class TestDenoisers:
    @pytest.fixture
    def denoiser(self):
        torch.manual_seed(0)
        process = HeatDissipation((1, 8, 8), blur_sigma_max=6.0, levels=8)
        network = UNet((1, 8, 8), channels=4, multipliers=(1, 2), blocks=1, attention_levels=())
        return Denoiser(network, process, prediction=PredictX())

    def test_the_average_s_process_agrees_with_the_model_s(self, denoiser):
        ema = EMA(denoiser, 0.9)
        assert ema.model.process.agrees_with(denoiser.process)
        assert denoiser.process.agrees_with(ema.model.process)
        assert ema.model.prediction == denoiser.prediction

    def test_the_process_s_tables_are_not_in_the_state(self, denoiser):
        state = EMA(denoiser, 0.9).state_dict()
        # Besides the parameters there is the count, under whatever name.
        held = {name for name in state if name.startswith("model.")}
        assert held == {f"model.{name}" for name, _ in denoiser.named_parameters()}
        assert len(state) == len(held) + 1

    def test_moving_the_average_s_dtype_leaves_the_process_exact(self, denoiser):
        ema = EMA(denoiser, 0.9).to(torch.bfloat16)
        assert torch.equal(
            ema.model.process.log_alpha(torch.tensor(0.5)), denoiser.process.log_alpha(torch.tensor(0.5))
        )

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_a_halved_network_s_average_denoises_in_float32(self, denoiser, dtype):
        denoiser.network.to(dtype)
        ema = EMA(denoiser, 0.9)
        with torch.no_grad():
            denoiser.network.last[-1].bias += 1.0
        ema.update(denoiser)
        z_t = torch.zeros(2, 1, 8, 8)
        # 0.9 is no number of half precision: it would be off by a thousandth or more.
        torch.testing.assert_close(ema(z_t, 0.5), torch.full_like(z_t, 0.9), rtol=1e-6, atol=1e-6)

    def test_what_a_process_learns_is_averaged_and_still_learned(self):
        denoiser = Denoiser(SoftNetwork(), LearnedHeat(), prediction=PredictX())
        rate = denoiser.process.rate
        ema = EMA(denoiser, 0.9)
        assert rate.requires_grad
        assert ema.model.process.basis is denoiser.process.basis
        before = rate.item()
        with torch.no_grad():
            rate += 1.0
        assert ema.model.process.rate.item() == before
        ema.update(denoiser)
        # float64: a tenth of the old value, nine tenths of the new one.
        assert ema.model.process.rate.item() == pytest.approx(before + 0.9, rel=1e-14)

    def test_estimates_come_from_the_average(self, denoiser):
        ema = EMA(denoiser, 0.9)
        with torch.no_grad():
            denoiser.network.last[-1].bias += 1.0
        ema.update(denoiser)
        z_t = torch.zeros(2, 1, 8, 8)
        # The first update has decay 0.1, so nine tenths of the change arrive.
        torch.testing.assert_close(ema(z_t, 0.5), torch.full_like(z_t, 0.9), rtol=1e-6, atol=1e-6)


class TestAnotherModel:
    @pytest.mark.parametrize("other", [nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 3), nn.Linear(2, 3))])
    def test_it_is_refused_and_nothing_is_changed(self, other):
        ema = EMA(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3)), 0.9)
        before = values(ema.model)
        with pytest.raises(ValueError, match="parameters differ in number or shape"):
            ema.update(other)
        assert_same(values(ema.model), before)
        assert int(ema.updates) == 0
