"""A measured table as the cost of a supernet: it fits the net that was exported, whatever its values, and trains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from supernet_onnx import SuperNet, read
from supernet_onnx.cost import latency, measure, params
from supernet_onnx.errors import CostError
from supernet_onnx.profiling import Settings, profile
from tests import toys
from tests.profiling.additive import RUN, Machine

if TYPE_CHECKING:
    from pathlib import Path

LAYER = 3.0 + 0.125
PRICES = {"Conv": 3.0, "Relu": 0.125, "ReduceMean": 2.0, "Gemm": 1.0}


@pytest.fixture(scope="module")
def net() -> SuperNet:
    return toys.toy()


@pytest.fixture(scope="module")
def table(net: SuperNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Profile the untrained file of the toy on a machine that prices operators."""
    folder = tmp_path_factory.mktemp("profile")
    net.export_onnx(folder / "toy.onnx")
    found = profile(read(folder / "toy.onnx"), Settings(rounds=1, subnets=0), open_run=Machine(PRICES).open)
    (folder / "latency.json").write_text(found.to_json())
    return folder / "latency.json"


def test_net_cost_is_the_expected_latency_and_its_gradient_that_of_arithmetic(net: SuperNet, table: Path) -> None:
    net.cost_specification = latency(table)
    deep, conv5, skip = LAYER + LAYER * 2 / 3, LAYER, 0.0  # inside of deep: two convolutions of three branches
    mean = (deep + conv5 + skip) / 3
    assert net.cost.item() == pytest.approx(LAYER + mean)
    net.cost.backward()
    gradient = net.pools["second"].alpha.grad.tolist()
    assert gradient == pytest.approx([(value - mean) / 3 for value in (deep, conv5, skip)], abs=1e-6)
    assert net.cost_range() == pytest.approx((LAYER, 3 * LAYER))
    net.zero_grad()


def test_the_trunk_counts_with_full_cost_and_other_metrics_stand_beside_it(net: SuperNet, table: Path) -> None:
    net.cost_specification = {"ms": latency(table), "size": params}
    part = net.get_cost("ms").item()
    net.full_cost = True
    assert net.get_cost("ms").item() - part >= RUN + 1.0
    net.full_cost = False
    assert net.get_cost("size").item() > 100


def test_the_table_of_the_untrained_file_serves_the_trained_one_folded_or_not(
    net: SuperNet, table: Path, tmp_path: Path
) -> None:
    net.cost_specification = latency(table)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for images, labels in toys.batches(2):
        loss = torch.nn.functional.cross_entropy(net(images), labels) + 0.1 * net.cost
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    theta = {name: weights["weights"].values() for name, weights in net.summary().items()}
    for fold_batchnorm in (True, False):
        net.export_onnx(tmp_path / "trained.onnx", fold_batchnorm=fold_batchnorm)
        of_file = measure(read(tmp_path / "trained.onnx"), [latency(table)])["latency"]
        assert of_file.without_trunk().expected(theta) == pytest.approx(net.cost.item(), rel=1e-6)


def test_a_table_of_another_net_is_an_error_that_says_where(table: Path) -> None:
    model = toys.Toy()
    model.first[1][0] = torch.nn.Conv2d(3, 6, 3, padding="same", groups=3)
    with pytest.raises(CostError, match=r"latency\.json': was .* pool 'first', branch 'conv3' is another one; profile"):
        SuperNet(model, input_shape=(3, 8, 8), cost=latency(table))
