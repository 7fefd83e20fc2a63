"""Every selection of every small supernet: the ONNX side and the torch side are the same network."""

import inspect
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import zoo
from onnx import ModelProto
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import supernet_onnx
from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.selection import every
from supernet_onnx.train import export

TOLERANCE = 1e-5


def run_onnx(model: ModelProto, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {value.name: x.numpy() for value, x in zip(session.get_inputs(), inputs, strict=True)})


def run_torch(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    with torch.no_grad():
        return [tensor.numpy() for tensor in pytree.tree_leaves(model(*inputs))]


def worst(actual: list[np.ndarray], expected: list[np.ndarray]) -> float:
    assert [a.shape for a in actual] == [e.shape for e in expected]
    return max(float(np.abs(a - e).max()) for a, e in zip(actual, expected, strict=True))


def export_directly(model: nn.Module, inputs: tuple[Tensor, ...]) -> ModelProto:
    dim = torch.export.Dim("batch")
    shapes = {name: {0: dim} for name in inspect.signature(model.forward).parameters}
    with export._quiet():
        program = torch.onnx.export(model, inputs, dynamo=True, verbose=False, dynamic_shapes=shapes)
    assert program is not None
    return program.model_proto


@pytest.mark.parametrize("name", zoo.CASES)
def test_every_selection_equals_the_torch_network_in_values_and_in_number_of_nodes(name: str, tmp_path: Path) -> None:
    case = zoo.CASES[name]
    net = SuperNet(case.model().eval(), input_example=case.inputs())
    net.export_onnx(tmp_path / "supernet.onnx")
    supergraph = supernet_onnx.read(tmp_path / "supernet.onnx")
    inputs = case.inputs(batch=3, seed=5)
    for selection in every(supergraph):
        subnet = supernet_onnx.prune(supergraph, selection)
        onnx.checker.check_model(subnet, full_check=True)
        chosen = net.export(selection.as_dict())
        assert not any(isinstance(module, SuperNetModule | SuperNet) for module in chosen.modules())
        assert worst(run_onnx(subnet, inputs), run_torch(chosen, inputs)) < TOLERANCE, selection
        direct = export_directly(chosen, case.inputs())
        assert len(subnet.graph.node) == len(direct.graph.node), selection
        assert sorted(node.op_type for node in subnet.graph.node) == sorted(node.op_type for node in direct.graph.node)


@pytest.mark.parametrize("name", zoo.CASES)
def test_the_marked_file_computes_what_the_supernet_computes_in_eval(name: str, tmp_path: Path) -> None:
    case = zoo.CASES[name]
    net = SuperNet(case.model(seed=4).eval(), input_example=case.inputs())
    net.export_onnx(tmp_path / "supernet.onnx")
    model = onnx.load(tmp_path / "supernet.onnx")
    onnx.checker.check_model(model, full_check=True)
    inputs = case.inputs(batch=3, seed=6)
    assert worst(run_onnx(model, inputs), run_torch(net, inputs)) < TOLERANCE


@pytest.mark.parametrize("name", zoo.CASES)
def test_selecting_by_hand_equals_one_hot_logits(name: str) -> None:
    """The exported module against the supernet itself, with all weight on one branch of each pool."""
    case = zoo.CASES[name]
    model = case.model(seed=7).eval()
    net = SuperNet(model, input_example=case.inputs())
    net.update_softmax_options(hard=True)
    inputs = case.inputs(seed=8)
    for selection in every(net.supergraph):
        with torch.no_grad():
            for pool_name, index in zip(selection.pools, selection.indices, strict=True):
                pool = model if pool_name == "model" else model.get_submodule(pool_name)
                assert isinstance(pool, SuperNetModule)
                pool.alpha.copy_(nn.functional.one_hot(torch.tensor(index), len(pool)))
        assert net.selection() == selection.as_dict()
        assert worst(run_torch(net, inputs), run_torch(net.export(), inputs)) == 0
