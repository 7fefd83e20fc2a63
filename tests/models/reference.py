"""The reference supernets for the tests: built, priced and exported, and selections of them."""

from __future__ import annotations

import importlib
import itertools
from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from supernet_onnx import SuperNet, SuperNetModule, storage
from supernet_onnx.cost import params
from supernet_onnx.selection import resolve, sample
from supernet_onnx.train import export

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import ModuleType

    from onnx import ModelProto

    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

MODELS = ["resnet8", "dscnn", "mobilenetv1", "tcresnet", "vit", "proxyless"]
LARGE = "proxyless"
COLD = 1e-6  # a temperature


class Reference(NamedTuple):
    """A supernet with random logits, priced, and the file that it was exported to."""

    name: str
    net: SuperNet
    path: Path

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(f"models.{self.name}")


def make(name: str, folder: Path) -> Reference:
    """Build, price and export a supernet.

    The large one takes half a minute to translate. It is translated once: what is priced is the file that is written.
    """
    module = importlib.import_module(f"models.{name}")
    path = folder / f"{name}.onnx"

    def write_and_load(program: torch.export.ExportedProgram, pools: Mapping[str, SuperNetModule]) -> ModelProto:
        export.write(program, pools, path)
        return storage.load(path)

    with torch.random.fork_rng(), pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(0)
        model = module.build()
        see_data(model, training_input(name))
        if name == LARGE:
            patch.setattr(export, "structure", write_and_load)
        net = SuperNet(model, cost=params, input_example=module.example_input())
    if name != LARGE:
        net.export_onnx(path)
    return Reference(name, net, path)


def training_input(name: str) -> Tensor:
    """Draw four samples, small ones for the network that takes long."""
    shape = importlib.import_module(f"models.{name}").example_input().shape
    return torch.randn(4, *((3, 64, 64) if name == LARGE else shape[1:]))


def see_data(model: nn.Module, inputs: Tensor) -> None:
    """Draw a chosen path, and give every BatchNorm, on the path or beside it, the statistics of a batch that takes it.

    With fresh ones the outputs of a deep network would hardly depend on its inputs, with other ones they would
    depend on rounding: there would be nothing to compare. Every branch must run for that, so the path is that of a
    mixture so cold that its weights are 0 and 1. A BatchNorm that saw nothing also folds into a bias of zeros, which
    the exporter leaves out of the file.
    """
    pools = [module for module in model.modules() if isinstance(module, SuperNetModule)]
    for pool in pools:
        nn.init.normal_(pool.alpha)
        pool.temperature = COLD
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(inputs)
    for pool in pools:
        assert sorted(pool.theta().tolist()) == [0.0] * (len(pool) - 1) + [1.0]
        pool.temperature = 1.0


def all_of(supergraph: SuperGraph, branch: int) -> Selection:
    """Select one branch everywhere, the last where there are fewer."""
    return resolve(supergraph, {pool.name: min(branch, len(pool.branches) - 1) for pool in supergraph.pools})


def random_selections(supergraph: SuperGraph, number: int = 20) -> list[Selection]:
    return list(itertools.islice(sample(supergraph, seed=0), number))
