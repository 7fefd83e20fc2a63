import copy
import itertools
import math

import pytest
import torch
import zoo
from torch import Tensor, nn

from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.cost import macs, measure, ops, params, params_no_bias
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
