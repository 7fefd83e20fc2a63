import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxsim
import onnxslim
import pytest
import torch
import zoo
from onnx import ModelProto
from torch import nn

import supernet_onnx
from supernet_onnx import SuperNet, SuperNetModule, marks, recovery
from supernet_onnx.errors import ExportError, OutputError
from supernet_onnx.selection import every
from supernet_onnx.train import export


def build(name: str) -> SuperNet:
    case = zoo.CASES[name]
    return SuperNet(case.model().eval(), input_example=case.inputs())


def outputs(model: ModelProto, name: str) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    inputs = zoo.CASES[name].inputs(batch=3)
    return session.run(None, {value.name: x.numpy() for value, x in zip(session.get_inputs(), inputs, strict=True)})


def test_the_file_says_what_it_is_and_keeps_the_batch_open(tmp_path: Path) -> None:
    build("flat").export_onnx(tmp_path / "supernet.onnx")
    model = onnx.load(tmp_path / "supernet.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["supernet_onnx.format"] == "1"
    assert metadata["supernet_onnx.version"] == supernet_onnx.__version__
    said = {node.output[0]: marks.decode(node) for node in model.graph.node if marks.is_pool(node)}
    assert recovery.record.read(metadata["supernet_onnx.pools"]) == said
    assert {entry.domain: entry.version for entry in model.opset_import}["supernet_onnx"] == 1
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    (pool,) = (node for node in model.graph.node if node.domain == marks.DOMAIN)
    assert (pool.op_type, pool.input[0]) == ("Pool3", "pool.weights")
    assert [function.name for function in model.functions if function.domain == marks.DOMAIN] == ["Pool3"]


def test_marks_and_what_they_make_are_named_after_the_pool(tmp_path: Path) -> None:
    names = {
        "output_pools": {"left": ["left"], "right": ["right"]},
        "tied": {"twice": ["twice", "twice_1"], "pool": ["pool"]},
        "two_outputs": {"pool": ["pool", "pool_1"]},
    }
    for name, expected in names.items():
        build(name).export_onnx(tmp_path / f"{name}.onnx")
        found: dict[str, list[str]] = {}
        model = onnx.load(tmp_path / f"{name}.onnx")
        for node in model.graph.node:
            if node.domain == marks.DOMAIN:
                assert node.name == node.output[0]
                found.setdefault(marks.decode(node).pool, []).append(node.name)
        assert found == expected
    outputs = onnx.load(tmp_path / "output_pools.onnx").graph.output
    assert [value.name for value in outputs] == ["left", "right"]


def test_a_static_export_keeps_the_batch_of_the_example(tmp_path: Path) -> None:
    case = zoo.CASES["flat"]
    net = SuperNet(case.model(), input_example=torch.zeros(1, 3, 8, 8))
    net.export_onnx(tmp_path / "supernet.onnx", dynamic_batch=False)
    model = onnx.load(tmp_path / "supernet.onnx")
    assert [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 8, 8]


def test_the_weights_in_the_file_are_those_of_the_logits_and_temperature(tmp_path: Path) -> None:
    net = build("flat")
    with torch.no_grad():
        net.model.pool.alpha.copy_(torch.tensor([0.0, 1.0, 2.0]))
    net.update_softmax_options(temperature=0.5)
    net.export_onnx(tmp_path / "soft.onnx")
    exponentials = [math.exp(2 * alpha) for alpha in (0, 1, 2)]
    (pool,) = supernet_onnx.read(tmp_path / "soft.onnx").pools
    assert [branch.weight for branch in pool.branches] == pytest.approx([e / sum(exponentials) for e in exponentials])
    assert [branch.score for branch in pool.branches] == [None] * 3


def test_a_hard_pool_is_written_one_hot_and_its_ranking_as_scores(tmp_path: Path) -> None:
    net = build("flat")
    with torch.no_grad():
        net.model.pool.alpha.copy_(torch.tensor([0.0, 2.0, 1.0]))
    net.update_softmax_options(hard=True)
    net.export_onnx(tmp_path / "hard.onnx")
    supergraph = supernet_onnx.read(tmp_path / "hard.onnx")
    assert [branch.weight for branch in supergraph.pools[0].branches] == [0, 1, 0]
    assert [branch.score for branch in supergraph.pools[0].branches] == pytest.approx([-2, 0, -1])
    (x,) = zoo.CASES["flat"].inputs(batch=3)
    assert np.allclose(outputs(supergraph.model, "flat")[0], net(x).detach().numpy(), atol=1e-5)


def test_no_two_values_are_equal_when_structure_is_priced() -> None:
    tensors = {str(i): torch.zeros(size) for i, size in enumerate([1] * 300 + [3, 8, 8, 2000])}
    tensors["tied"] = tensors["300"]
    tensors["integers"] = torch.zeros(3, dtype=torch.int64)
    export._make_distinct(tensors)
    assert tensors["tied"] is tensors["300"]
    assert tensors["integers"].tolist() == [0, 0, 0]
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and name != "tied"}
    assert len({tuple(tensor.tolist()) for tensor in floats.values()}) == len(floats)
    assert all((tensor > 0).all() for tensor in floats.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scalars_of_half_precision_stay_distinct(dtype: torch.dtype) -> None:
    tensors = {str(i): torch.zeros(1, dtype=dtype) for i in range(800)}
    export._make_distinct(tensors)
    assert len({float(tensor) for tensor in tensors.values()}) == 800


def test_the_priced_graph_holds_no_large_weights() -> None:
    net = SuperNet(SuperNetModule([nn.Linear(512, 512), nn.Identity()]), input_shape=(512,))
    assert net.supergraph.model.ByteSize() < 20_000
    assert float(net.cost.detach()) == (512 * 512 + 512) / 2


def test_a_model_over_the_limit_of_protobuf_keeps_its_weights_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_INLINE_LIMIT", 1000)
    net = build("tied")
    net.export_onnx(tmp_path / "supernet.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["supernet.onnx", "supernet.onnx.data"]
    supergraph = supernet_onnx.read(tmp_path / "supernet.onnx")
    assert [pool.name for pool in supergraph.pools] == ["twice", "pool"]
    session = onnxruntime.InferenceSession(tmp_path / "supernet.onnx")
    (x,) = zoo.CASES["tied"].inputs(batch=3)
    assert np.allclose(session.run(None, {"x": x.numpy()})[0], net(x).detach().numpy(), atol=1e-5)


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        build("no_trunk").export_onnx(tmp_path / "missing" / "supernet.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_torch_onnx_cannot_translate_is_an_error_that_says_why(tmp_path: Path) -> None:
    class Eigenvalues(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvalsh(x)

    with pytest.raises(ExportError, match=r"torch\.onnx cannot translate the model: .*eigh"):
        SuperNet(nn.Sequential(SuperNetModule([nn.Identity()]), Eigenvalues()), input_shape=(3, 3))


@pytest.mark.parametrize("name", zoo.CASES)
def test_pools_survive_onnxslim_and_onnxsim_and_are_pruned_to_the_same_network(name: str, tmp_path: Path) -> None:
    net = build(name)
    path = tmp_path / "supernet.onnx"
    net.export_onnx(path)
    original = supernet_onnx.read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of those tools
        optimized = {"onnxslim": onnxslim.slim(str(path)), "onnxsim": onnxsim.simplify(onnx.load(path))[0]}
    for tool, model in optimized.items():
        supergraph = supernet_onnx.read(model)
        assert {pool.name: [branch.name for branch in pool.branches] for pool in supergraph.pools} == {
            pool.name: [branch.name for branch in pool.branches] for pool in original.pools
        }, tool
        for selection in every(original):
            expected = outputs(supernet_onnx.prune(original, selection), name)
            same = supernet_onnx.resolve(supergraph, selection.as_dict())
            actual = outputs(supernet_onnx.prune(supergraph, same), name)
            assert all(np.allclose(a, e, atol=1e-5) for a, e in zip(actual, expected, strict=True)), (tool, selection)
