import copy
import io
import itertools
import math

import pytest
import torch
import zoo
from torch import Tensor, nn

import supernet_onnx
from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.cost import macs, measure, ops, params, params_no_bias
from supernet_onnx.errors import ExportError, PoolError, SelectionError
from supernet_onnx.selection import every

MODES = [
    pytest.param({}, id="softmax"),
    pytest.param({"gumbel": True}, id="gumbel"),
    pytest.param({"hard": True}, id="hard"),
    pytest.param({"gumbel": True, "hard": True}, id="gumbel-hard"),
]


class Example(nn.Module):
    """The pool of the README."""

    def __init__(self) -> None:
        super().__init__()

        def conv(kernel: int) -> nn.Module:
            return nn.Conv2d(32, 32, kernel, padding="same")

        self.conv = SuperNetModule([conv(3), nn.Sequential(conv(3), conv(3)), conv(5), nn.Identity()])

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


CONV3, CONV5 = 32 * 32 * 9 + 32, 32 * 32 * 25 + 32


def flat(**options: object) -> SuperNet:
    return SuperNet(zoo.CASES["flat"].model(), input_shape=(3, 8, 8), **options)  # type: ignore[arg-type]


def test_the_example_costs_the_mean_of_its_branches() -> None:
    net = SuperNet(Example(), input_shape=(32, 64, 64))
    assert float(net.cost.detach()) == (CONV3 + 2 * CONV3 + CONV5 + 0) / 4 == 13_344
    net.cost_specification = ops
    assert float(net.cost.detach()) == (CONV3 + 2 * CONV3 + CONV5) * 64 * 64 / 4 == 54_657_024


def test_the_gradient_of_the_cost_is_that_of_the_softmax_of_the_branch_costs() -> None:
    net = SuperNet(Example(), input_shape=(32, 8, 8))
    net.cost.backward()
    costs, mean = [CONV3, 2 * CONV3, CONV5, 0], 13_344
    assert net.model.conv.alpha.grad.tolist() == pytest.approx([(cost - mean) / 4 for cost in costs])


@pytest.mark.parametrize("mode", MODES)
def test_logits_receive_gradients_from_the_task_and_from_the_cost_in_every_mode(mode: dict[str, bool]) -> None:
    net = flat()
    net.update_softmax_options(**mode)
    alpha = next(net.nas_parameters())
    torch.manual_seed(0)
    (of_task,) = torch.autograd.grad(net(torch.randn(4, 3, 8, 8)).pow(2).sum(), alpha)
    assert (of_task != 0).all()
    (of_cost,) = torch.autograd.grad(net.cost, alpha)
    assert (of_cost != 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_gradients_reach_nested_and_tied_logits_in_every_mode(mode: dict[str, bool]) -> None:
    for name in ("nested", "tied"):
        case = zoo.CASES[name]
        net = SuperNet(case.model(), input_example=case.inputs())
        net.update_softmax_options(**mode)
        net(*case.inputs()).sum().backward()
        for parameter_name, parameter in net.named_nas_parameters():
            assert parameter.grad is not None, parameter_name
        net.zero_grad()
        net.cost.backward()
        for parameter_name, parameter in net.named_nas_parameters():
            assert parameter.grad is not None, parameter_name


@pytest.mark.parametrize("name", zoo.CASES)
def test_the_cost_is_the_expectation_over_all_selections(name: str) -> None:
    case = zoo.CASES[name]
    net = SuperNet(case.model(), cost=params, input_example=case.inputs(), full_cost=True)
    weights = {pool: torch.softmax(torch.randn(len(module)), 0) for pool, module in net._pools.items()}
    with torch.no_grad():
        for pool, module in net._pools.items():
            module.alpha.copy_(weights[pool].log())
    table = measure(net.supergraph, [params])["params"]
    expected = sum(
        table.total(selection)
        * math.prod(float(weights[pool][i]) for pool, i in zip(selection.pools, selection.indices, strict=True))
        for selection in every(net.supergraph)
    )
    assert float(net.cost.detach()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", zoo.CASES)
def test_params_are_those_of_the_chosen_network_with_batchnorm_folded(name: str) -> None:
    case = zoo.CASES[name]
    net = SuperNet(case.model(), input_example=case.inputs(), full_cost=True)
    table = measure(net.supergraph, [params])["params"]
    for selection in every(net.supergraph):
        chosen = net.export(selection.as_dict())
        folded = sum(p.numel() for m in chosen.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters(False))
        used = {id(p): p.numel() for p in chosen.parameters()}
        assert table.total(selection) == sum(used.values()) - folded, selection


def test_a_fresh_model_costs_what_a_trained_one_does() -> None:
    """The exporter folds zero biases away and merges equal tensors, and a fresh network is full of both."""

    class Fresh(nn.Module):
        def __init__(self) -> None:
            super().__init__()

            def block() -> nn.Module:
                return nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.BatchNorm1d(8))

            self.pool = SuperNetModule({"one": block(), "two": block(), "none": nn.Identity()})
            self.scale = nn.Parameter(torch.zeros(8))
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    nn.init.zeros_(module.bias)
                    nn.init.zeros_(module.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x) + self.scale

    fresh, trained = Fresh(), Fresh()
    for tensor in itertools.chain(trained.parameters(), trained.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)
    for metric in (params, macs):
        tables = [
            measure(SuperNet(model, input_shape=(8,)).supergraph, [metric])[metric.name] for model in (fresh, trained)
        ]
        assert tables[0].trunk == tables[1].trunk
        assert tables[0].decompose().branches == tables[1].decompose().branches
    linear, norm, batchnorm = 8 * 8 + 8, 2 * 8, 4 * 8
    amounts = measure(SuperNet(fresh, input_shape=(8,)).supergraph, [params])["params"].decompose()
    assert amounts.branches == {"pool": (linear + norm + batchnorm, linear + norm + batchnorm, 0)}
    assert amounts.trunk == 8


def test_tied_parameters_count_once() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            one, two = nn.Linear(40, 40, bias=False), nn.Linear(40, 40, bias=False)
            two.weight = one.weight
            self.pool = SuperNetModule([nn.Sequential(one, nn.ReLU(), two), one])

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x)

    net = SuperNet(Two(), input_shape=(40,), full_cost=True)
    assert float(net.cost.detach()) == 1600


def test_the_cost_is_fresh_after_every_change_and_needs_no_forward() -> None:
    net = SuperNet(Example(), input_shape=(32, 8, 8))
    before = float(net.cost.detach())
    state = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        net.model.conv.alpha.copy_(torch.tensor([0.0, 0.0, 3.0, 0.0]))
    changed = float(net.cost.detach())
    net.update_softmax_options(temperature=0.01)
    assert before < changed < float(net.cost.detach()) == pytest.approx(CONV5)
    net.load_state_dict(state)
    assert float(net.cost.detach()) == before


def test_the_cost_keeps_its_gradient_after_summary_print_and_a_forward_without_gradients() -> None:
    net = SuperNet(Example(), input_shape=(32, 8, 8))
    with torch.no_grad():
        net(torch.ones(1, 32, 8, 8))
    net.summary()
    repr(net)
    net.cost.backward()
    net.cost.backward()
    assert (net.model.conv.alpha.grad != 0).all()


def test_a_hard_net_costs_what_is_chosen_and_a_gumbel_net_what_its_draws_cost_on_average() -> None:
    net = SuperNet(Example(), input_shape=(32, 8, 8))
    with torch.no_grad():
        net.model.conv.alpha.copy_(torch.tensor([0.0, 0.0, 1.0, 0.0]))
    net.update_softmax_options(hard=True)
    assert float(net.cost.detach()) == CONV5
    net.update_softmax_options(hard=False, gumbel=True, temperature=0.01)
    probability = torch.softmax(net.model.conv.alpha.detach().double(), 0)
    expected = float(probability @ torch.tensor([CONV3, 2.0 * CONV3, CONV5, 0.0], dtype=torch.float64))
    assert float(net.cost.detach()) == pytest.approx(expected)


def test_several_costs_are_read_by_name() -> None:
    net = SuperNet(Example(), cost={"size": params, "work": macs}, input_shape=(32, 8, 8))
    assert float(net.get_cost("size").detach()) == 13_344
    assert float(net.get_cost("work").detach()) == (9216 * 3 + 25_600) * 64 / 4
    with pytest.raises(ValueError, match=r"several costs, get one by its name.*'size', 'work'"):
        net.cost
    with pytest.raises(ValueError, match="there is no cost 'latency'; the costs are 'size', 'work'"):
        net.get_cost("latency")


def test_the_cost_specification_can_be_read_and_set() -> None:
    net = SuperNet(Example(), input_shape=(32, 8, 8))
    assert net.cost_specification is params
    net.cost_specification = {"a": params_no_bias}
    assert net.cost_specification == {"a": params_no_bias}
    assert float(net.get_cost("a").detach()) == (9216 * 3 + 25_600) / 4
    net.cost_specification = macs
    assert float(net.cost.detach()) == (9216 * 3 + 25_600) * 64 / 4


def test_full_cost_adds_the_trunk() -> None:
    stem, head = 3 * 4 * 9 + 4, 4 * 5 + 5
    without, whole = flat(), flat(full_cost=True)
    assert float(whole.cost.detach() - without.cost.detach()) == pytest.approx(stem + head)


def test_full_cost_can_be_set_at_any_time() -> None:
    stem, head = 3 * 4 * 9 + 4, 4 * 5 + 5
    net = flat()
    without = float(net.cost.detach())
    net.full_cost = True
    assert float(net.cost.detach()) == pytest.approx(without + stem + head)


@pytest.mark.parametrize("wrong", ["params", None, {}, {"size": "params"}, [params]])
def test_a_cost_that_is_no_metric_is_a_type_error_and_changes_nothing(wrong: object) -> None:
    net = SuperNet(Example(), input_shape=(32, 8, 8))
    with pytest.raises(TypeError, match=r"cost must be a metric, such as supernet_onnx\.cost\.params, or a mapping"):
        net.cost_specification = wrong  # type: ignore[assignment]
    assert float(net.cost.detach()) == 13_344


def test_a_model_that_changes_itself_in_eval_is_left_as_it_was() -> None:
    class Merging(nn.Linear):
        """As layers with low-rank updates do, that merge them into the weight in eval."""

        def train(self, mode: bool = True) -> nn.Module:
            if mode != self.training:
                self.weight.data *= 0.5 if mode else 2.0
            return super().train(mode)

    model = nn.Sequential(SuperNetModule([Merging(4, 4), nn.Identity()]))
    before = model[0][0].weight.detach().clone()
    SuperNet(model, input_shape=(4,))
    assert torch.equal(model[0][0].weight, before)


def test_construction_and_exports_leave_the_model_as_it_was(tmp_path: object) -> None:
    model = zoo.CASES["flat"].model()
    model.train()
    model.stem[1].eval()
    calls: list[int] = []
    handle = model.head.register_forward_hook(lambda *_: calls.append(1))
    values = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    torch.manual_seed(11)
    state = torch.get_rng_state()
    net = SuperNet(model, input_shape=(3, 8, 8))
    net.export()
    net.export_onnx(f"{tmp_path}/supernet.onnx")
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert list(model.head._forward_hooks) == [handle.id]
    after = model.state_dict()
    assert list(after) == list(values)
    for name, value in values.items():
        assert torch.equal(after[name], value), name
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_exported_network_is_plain_separate_and_named_as_the_user_would_have() -> None:
    net = flat()
    net.train()
    chosen = net.export({"pool": "conv3"})
    assert [name for name in chosen.state_dict() if name.startswith("pool")] == [
        *(f"pool.0.{name}" for name in ("weight", "bias")),
        *(f"pool.1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    ]
    assert type(chosen) is zoo.Flat
    assert not any("supernet" in type(module).__module__ for module in chosen.modules())
    assert chosen.training
    own = {parameter.data_ptr() for parameter in net.parameters()}
    assert not any(parameter.data_ptr() in own for parameter in chosen.parameters())
    assert not net.eval().export().training


def test_the_exported_network_is_the_heaviest_branches_unless_told_otherwise() -> None:
    case = zoo.CASES["nested"]
    net = SuperNet(case.model(), input_example=case.inputs())
    with torch.no_grad():
        net.model.outer.alpha.copy_(torch.tensor([0.0, 2.0, 1.0]))
    assert net.selection()["outer"] == "flat"
    assert isinstance(net.export().outer, nn.Conv2d)
    assert isinstance(net.export({"outer": 2}).outer, nn.Identity)
    with pytest.raises(SelectionError, match="pool 'inner' is not in the model"):
        net.export({"inner": 0})
    with pytest.raises(SelectionError, match="pool 'outer' has no branch 'wide'"):
        net.export({"outer": "wide"})


def test_the_exported_network_trains_what_the_model_trained_before_only_logits_were() -> None:
    net = flat()
    net.model.head.weight.requires_grad_(False)
    net.train_nas_only()
    chosen = net.export()
    assert {name for name, p in chosen.named_parameters() if not p.requires_grad} == {"head.weight"}
    assert not any(p.requires_grad for p in net.net_parameters())


def test_what_trains_can_be_switched_and_frozen_parameters_stay_frozen() -> None:
    net = flat()
    net.model.head.bias.requires_grad_(False)
    everything = {name for name, _ in net.named_parameters()}
    logits = {name for name, _ in net.named_nas_parameters()}
    assert logits == {"model.pool.alpha"}
    assert {name for name, _ in net.named_net_parameters()} == everything - logits

    def trained() -> set[str]:
        return {name for name, parameter in net.named_parameters() if parameter.requires_grad}

    net.train_nas_only()
    assert trained() == logits
    assert net.train_selection
    net.train_net_only()
    assert trained() == everything - logits - {"model.head.bias"}
    assert not net.train_selection
    net.train_net_and_nas()
    assert trained() == everything - {"model.head.bias"}
    net.train_selection = False
    assert trained() == everything - logits - {"model.head.bias"}


def test_named_parameters_take_a_prefix_and_yield_a_pool_reached_twice_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = SuperNetModule([nn.Linear(2, 2), nn.Identity()])
            self.two = self.one

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x))

    net = SuperNet(Twice(), input_shape=(2,))
    assert [name for name, _ in net.named_nas_parameters("net")] == ["net.model.one.alpha"]
    assert len(list(net.nas_parameters())) == 1
    assert len(list(net.net_parameters())) == 2
    assert float(net.cost.detach()) == 6 / 2


def test_summary_and_selection_name_the_branches() -> None:
    net = flat()
    with torch.no_grad():
        net.model.pool.alpha.copy_(torch.tensor([0.0, math.log(2.0), 0.0]))
    assert net.selection() == {"pool": "separable"}
    summary = net.summary()["pool"]
    assert summary["selected"] == "separable"
    assert summary["weights"] == pytest.approx({"conv3": 0.25, "separable": 0.5, "skip": 0.25})


def test_softmax_options_reach_every_pool_and_none_leaves_them() -> None:
    case = zoo.CASES["nested"]
    net = SuperNet(case.model(), input_example=case.inputs())
    net.update_softmax_options(temperature=0.5)
    net.update_softmax_options(hard=True)
    pools = [module for module in net.modules() if isinstance(module, SuperNetModule)]
    assert [(p.temperature, p.hard_softmax, p.gumbel_softmax) for p in pools] == [(0.5, True, False)] * 3


def test_icv_is_that_of_the_formula_and_differentiable() -> None:
    net = SuperNet(Example(), input_shape=(32, 8, 8))
    assert float(net.get_total_icv().detach()) == pytest.approx(0.25**2 / 1e-3) == pytest.approx(62.5)
    with torch.no_grad():
        net.model.conv.alpha.copy_(torch.tensor([0.7, 0.1, 0.1, 0.1]).log())
    variance = ((0.7 - 0.25) ** 2 + 3 * (0.1 - 0.25) ** 2) / 3
    icv = net.get_total_icv(eps=0.5)
    assert float(icv.detach()) == pytest.approx(0.25**2 / (variance + 0.5))
    icv.backward()
    assert (net.model.conv.alpha.grad != 0).any()


def test_icv_of_a_pool_of_one_branch_is_finite() -> None:
    net = SuperNet(SuperNetModule([nn.Linear(2, 2)]), input_shape=(2,))
    assert float(net.get_total_icv().detach()) == pytest.approx(1 / 1e-3)


@pytest.mark.parametrize("name", ["flat", "nested", "tied"])
def test_a_copied_and_a_pickled_supernet_are_independent_and_whole(name: str) -> None:
    case = zoo.CASES[name]
    net = SuperNet(case.model(), input_example=case.inputs())
    net(*case.inputs()).sum().backward()
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    before = float(net.cost.detach())
    for other in (copy.deepcopy(net), torch.load(buffer, weights_only=False)):
        assert float(other.cost.detach()) == before
        with torch.no_grad():
            for parameter in other.nas_parameters():
                parameter.copy_(torch.arange(len(parameter)))
        assert float(other.cost.detach()) != before
        assert float(net.cost.detach()) == before
        other.cost_specification = macs
        other.cost.backward()


def test_a_supernet_resumes_from_its_state_dict() -> None:
    net, fresh = flat(), flat()
    net.update_softmax_options(temperature=0.25, hard=True)
    with torch.no_grad():
        net.model.pool.alpha.copy_(torch.tensor([0.0, 0.0, 1.0]))
    buffer = io.BytesIO()
    torch.save(net.state_dict(), buffer)
    buffer.seek(0)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    assert fresh.selection() == {"pool": "skip"}
    assert fresh.model.pool.temperature == 0.25
    assert fresh.model.pool.hard_softmax


def test_inputs_may_be_a_shape_a_tensor_a_tuple_or_keywords_of_any_batch() -> None:
    for example in (torch.ones(1, 3, 8, 8), (torch.ones(5, 3, 8, 8),), {"x": torch.ones(2, 3, 8, 8)}):
        net = SuperNet(zoo.CASES["flat"].model(), macs, input_example=example)
        assert float(net.cost.detach()) == pytest.approx(float(flat(cost=macs).cost.detach()))


@pytest.mark.parametrize("options", [{}, {"input_shape": (3, 8, 8), "input_example": torch.ones(1, 3, 8, 8)}])
def test_both_or_neither_of_shape_and_example_are_a_type_error(options: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"either input_shape .* or input_example"):
        SuperNet(zoo.CASES["flat"].model(), **options)  # type: ignore[arg-type]


def test_a_shape_that_is_none_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="sizes without the batch"):
        SuperNet(zoo.CASES["flat"].model(), input_shape=(3, -1, 8))


def test_a_model_without_pools_is_an_error() -> None:
    with pytest.raises(PoolError, match="the model has no pool; make at least one of its layers a SuperNetModule"):
        SuperNet(nn.Linear(2, 2), input_shape=(2,))


def test_a_pool_in_a_plain_list_is_an_error_that_says_what_to_do() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = SuperNetModule([nn.Identity()])
            self.hidden = [SuperNetModule([nn.Identity()])]

        def forward(self, x: Tensor) -> Tensor:
            return self.hidden[0](self.pool(x))

    with pytest.raises(PoolError, match=r"no registered submodule of the model; keep pools in attributes, nn\.Module"):
        SuperNet(Hidden(), input_shape=(2,))


def test_what_torch_export_refuses_is_an_error_that_says_so() -> None:
    class DataDependent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = SuperNetModule([nn.Linear(2, 2), nn.Identity()])

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x) if x.sum() > 0 else x

    model = DataDependent()
    with pytest.raises(ExportError, match=r"torch\.export cannot trace the model: .*data-dependent"):
        SuperNet(model, input_shape=(2,))
    assert model.training


def test_python_in_forward_that_depends_on_no_data_is_no_obstacle() -> None:
    class Dynamic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pools = nn.ModuleDict(
                {f"p{i}": SuperNetModule([nn.Linear(4, 4, bias=False), nn.Identity()]) for i in range(3)}
            )
            self.order = ["p2", "p0"]

        def forward(self, x: Tensor, *, double: bool = False) -> Tensor:
            for name in self.order:
                x = self.pools[name](x)
            while x.dim() < 4:
                x = x.unsqueeze(-1)
            return x * 2 if double else x

    net = SuperNet(Dynamic(), input_example={"x": torch.ones(3, 4), "double": True})
    assert float(net.cost.detach()) == 2 * 16 / 2  # p1 is never called
    assert set(net.selection()) == {"pools.p0", "pools.p1", "pools.p2"}


def test_a_model_that_fixes_its_batch_is_priced_and_exported_with_it(tmp_path: object) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = SuperNetModule([nn.Linear(4, 4), nn.Identity()])

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x).reshape(3, 2, 2)

    net = SuperNet(Fixed(), macs, input_example=torch.ones(3, 4))
    assert float(net.cost.detach()) == 3 * 16 / 2
    with pytest.raises(ExportError, match=r"fixes its batch size.*dynamic_batch=False"):
        net.export_onnx(f"{tmp_path}/supernet.onnx")
    net.export_onnx(f"{tmp_path}/supernet.onnx", dynamic_batch=False)
    assert supernet_onnx.read(f"{tmp_path}/supernet.onnx").pools[0].name == "pool"


def test_user_subclasses_recurrent_and_attention_modules_may_be_branches() -> None:
    class Mine(nn.Conv1d):
        pass

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.gru(x.transpose(1, 2))[0].transpose(1, 2)

    net = SuperNet(SuperNetModule([Mine(4, 4, 1), Recurrent()]), input_shape=(4, 5))
    conv, gru = 4 * 4 + 4, 3 * (4 * 4 + 4 * 4 + 2 * 4)
    assert float(net.cost.detach()) == (conv + gru) / 2


def test_double_precision_models_are_priced_and_exported_in_double(tmp_path: object) -> None:
    net = SuperNet(zoo.CASES["flat"].model().double(), input_shape=(3, 8, 8))
    assert float(net.cost.detach()) == pytest.approx(float(flat().cost.detach()))
    net.export_onnx(f"{tmp_path}/double.onnx")
    weights = [branch.weight for branch in supernet_onnx.read(f"{tmp_path}/double.onnx").pools[0].branches]
    assert weights == pytest.approx(torch.softmax(net.model.pool.alpha.detach(), 0).tolist())
