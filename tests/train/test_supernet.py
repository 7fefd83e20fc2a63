import copy
import io
import math
import pickle

import pytest
import torch
import zoo
from torch import Tensor, nn

from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.cost import gap8_latency, macs, mpic_latency, ops, peak_memory, size
from supernet_onnx.errors import SelectionError


def flat(**options: object) -> SuperNet:
    return SuperNet(zoo.CASES["flat"].model(), input_shape=(3, 8, 8), **options)  # type: ignore[arg-type]


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


def test_a_supernet_is_copied_and_pickled_whatever_it_counts() -> None:
    net = SuperNet(nn.Sequential(SuperNetModule([nn.Linear(2, 2), nn.Identity()])), input_shape=(2,))
    for metric in (size, ops, gap8_latency, peak_memory, mpic_latency(weight_bits=8, act_bits=8)):
        net.cost_specification = metric
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert float(other.cost.detach()) == float(net.cost.detach())
            assert getattr(other.cost_specification, "name", None) == metric.name


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
