"""A file that keeps its BatchNorms: priced like the folded one, and recalibrated to what torch gives."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import toys
from torch import nn

import supernet_onnx
from supernet_onnx import SuperNet, SuperNetModule, folding, runtime
from supernet_onnx.cost import METRICS, measure
from supernet_onnx.selection import every
from supernet_onnx.train import recalibrate_batchnorm
from tests.cli.calling import call, error, record

COUNTED = [
    METRICS[name] for name in ("params", "params_no_bias", "macs", "ops", "peak_memory", "traffic", "gap8_latency")
]


@pytest.fixture(scope="module")
def net() -> SuperNet:
    net = toys.toy()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2)
                module.bias.normal_()
        net.train()
        for x, _ in toys.batches(seed=5):
            net(x)
    return net


@pytest.fixture(scope="module")
def unfolded(net: SuperNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("unfolded") / "toy.onnx"
    net.export_onnx(path, fold_batchnorm=False)
    return path


def test_both_files_and_the_net_cost_the_same_under_every_selection(
    net: SuperNet, unfolded: Path, tmp_path: Path
) -> None:
    net.export_onnx(tmp_path / "folded.onnx")
    graphs = [supernet_onnx.read(tmp_path / "folded.onnx"), supernet_onnx.read(unfolded), net.supergraph]
    tables = [measure(graph, COUNTED) for graph in graphs]
    kept = [sum(node.op_type == "BatchNormalization" for node in graph.graph.node) for graph in graphs]
    assert kept == [0, 6, 0]
    for metric in COUNTED:
        totals = [[table[metric.name].total(selection) for selection in every(graphs[0])] for table in tables]
        assert totals[0] == totals[1] == totals[2], metric.name


def test_a_subnet_is_recalibrated_as_torch_does_and_folding_changes_nothing(net: SuperNet, unfolded: Path) -> None:
    data = toys.batches(4, seed=2)
    graph = supernet_onnx.read(unfolded)
    x = data[0][0]
    for selection in every(graph):
        expected = net.export(selection)
        recalibrate_batchnorm(expected, data)
        subnet = supernet_onnx.prune(graph, selection)
        recalibrated = runtime.recalibrate(subnet, [{"images": batch.numpy()} for batch, _ in data])
        folded = folding.fold(recalibrated)
        assert all(node.op_type != "BatchNormalization" for node in folded.graph.node)
        output = expected.eval()(x).detach().numpy()
        stale = net.export(selection).eval()(x).detach().numpy()
        assert np.abs(stale - output).max() > 1e-2
        for model in (recalibrated, folded):
            (actual,) = runtime.open_session(model).run({"images": x.numpy()}).values()
            assert np.abs(actual - output).max() < 1e-4
        for layer in (module for module in expected.modules() if isinstance(module, nn.BatchNorm2d)):
            values = [onnx.numpy_helper.to_array(tensor) for tensor in recalibrated.graph.initializer]
            for wanted in (layer.running_mean, layer.running_var):
                assert any(v.shape == wanted.shape and np.allclose(v, wanted.numpy(), atol=1e-4) for v in values)


class Tied(nn.Module):
    """One layer that is used twice, and two fresh ones whose statistics are equal at first."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = SuperNetModule({"conv": toys.conv(3, 3, 3), "skip": nn.Identity()})
        self.one, self.other = toys.conv(3, 3, 1), toys.conv(3, 3, 3)
        self.line = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(self.other(self.one(self.pool(self.pool(self.one(x))))))


def test_layers_that_are_used_twice_share_statistics_and_fresh_ones_do_not(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = SuperNet(Tied(), input_shape=(3, 8, 8))
    net.export_onnx(tmp_path / "tied.onnx", fold_batchnorm=False)
    graph = supernet_onnx.read(tmp_path / "tied.onnx")
    data = toys.batches(3)
    for selection in every(graph):
        expected = net.export(selection)
        recalibrate_batchnorm(expected, data)
        subnet = supernet_onnx.prune(graph, selection)
        model = folding.fold(runtime.recalibrate(subnet, [{"x": batch.numpy()} for batch, _ in data]))
        (actual,) = runtime.open_session(model).run({"x": data[1][0].numpy()}).values()
        assert np.allclose(actual, expected.eval()(data[1][0]).detach().numpy(), atol=1e-4)
        of_file, of_net = (
            measure(supernet_onnx.read(m) if m is model else net.supergraph, COUNTED) for m in (model, 0)
        )
        assert of_file["params"].trunk == of_net["params"].total(selection)


def test_the_command_line_recalibrates_and_folds(net: SuperNet, unfolded: Path, tmp_path: Path) -> None:
    data = toys.batches(4, 16, seed=2)
    np.savez(tmp_path / "d.npz", images=torch.cat([x for x, _ in data]).numpy(), targets=np.zeros(64))
    output, choice = tmp_path / "out.onnx", ["--select", "first=conv3", "--select", "second=conv5"]
    arguments = ["prune", unfolded, "-o", output, *choice, "--recalibrate", tmp_path / "d.npz", "--batch-size", 16]
    found = record(*arguments, "--fold", "--verify")
    assert found["batchnorm"] == {"recalibrated": 2, "samples": 64, "folded": 2}
    assert found["verified"] is True
    expected = net.export({"first": "conv3", "second": "conv5"})
    recalibrate_batchnorm(expected, data)
    (actual,) = runtime.open_session(output).run({"images": data[0][0].numpy()}).values()
    assert np.allclose(actual, expected.eval()(data[0][0]).detach().numpy(), atol=1e-4)
    assert "BatchNorm: 2 recalibrated on 64 samples, 0 folded" in call(*arguments).stdout
    assert record("prune", unfolded, "-o", output, *choice, "--fold")["batchnorm"]["folded"] == 2
    skips = ["--select", "first=conv1", "--select", "second=skip"]
    assert json.loads(call("prune", unfolded, *skips, "--dry-run", "--json").stdout)["batchnorm"] is None
    net.export_onnx(tmp_path / "folded.onnx")
    message = error("prune", tmp_path / "folded.onnx", "--recalibrate", tmp_path / "d.npz")
    assert (
        "has no BatchNormalization to recalibrate; export the supernet with net.export_onnx(path, fold_batch" in message
    )
    assert "cannot be read as .npz" in error("prune", unfolded, "--recalibrate", tmp_path / "none.npz")
    assert "is also an input" in error("prune", unfolded, "--recalibrate", tmp_path / "d.npz", "-o", tmp_path / "d.npz")


def test_a_batch_without_variance_is_an_error(tmp_path: Path) -> None:
    text = (
        '<ir_version: 10, opset_import: ["" : 17]> g (float[n, 2] x) => (float[n, 2] y) '
        "<float[2] s = {1, 1}, float[2] b = {0, 0}> { y = BatchNormalization (x, s, b, b, s) }"
    )
    model = onnx.parser.parse_model(text)
    with pytest.raises(supernet_onnx.SuperNetError, match="one value of each channel, so no variance"):
        runtime.recalibrate(model, [{"x": np.zeros((1, 2), np.float32)}])
    with pytest.raises(supernet_onnx.SuperNetError, match="there is no batch"):
        runtime.recalibrate(model, [])
    x = np.array([[1, 2], [3, 6]], np.float32)
    changed = runtime.recalibrate(model, [{"x": x}])
    values = {tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in changed.graph.initializer}
    assert values == {"s": [1, 1], "b": [0, 0], "b.recalibrated": [2, 4], "s.recalibrated": [2, 8]}
