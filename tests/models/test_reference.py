"""The reference supernets: their spaces, their counts against independent ones, and their way to onnxruntime."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import supernet_onnx
from models import proxyless
from supernet_onnx.cost import macs, measure, params
from supernet_onnx.selection import count
from tests.models.reference import all_of, random_selections, training_input

if TYPE_CHECKING:
    from torch import Tensor

    from tests.models.reference import Reference

TOLERANCE = 1e-4

SPACES = {  # pools, branches, selections
    "resnet8": (4 + 3, 4 * 3 + 3 * 4, 3**4 * 4**3),
    "dscnn": (4, 4 * 4, 4**4),
    "mobilenetv1": (5 + 8, 5 * 3 + 8 * 4, 3**5 * 4**8),
    "tcresnet": (3 + 3, 3 * 4 + 3 * 5, 4**3 * 5**3),
    "vit": (2 * 4, 4 * (6 + 4), (6 * 4) ** 4),
    "proxyless": (6 + 15, 6 * 6 + 15 * 7, 6**6 * 7**15),
}


def mbconv(inputs: int, outputs: int, kernel: int, expansion: int) -> int:
    width = inputs * expansion
    return (inputs * width + width) + (width * kernel**2 + width) + (width * outputs + outputs)


# Parameters of each branch of a pool, BatchNorm folded into biases. A LayerNorm of width 64 has 2 * 64.
BRANCHES = {
    "resnet8": {"stem": (3 * 16 * 9 + 16, 3 * 16 * 25 + 16, 3 * 9 + 3 + 3 * 16 + 16)},
    "dscnn": {"blocks.3.pool": (64 * 64 * 9 + 64, 64 * 64 * 25 + 64, 64 * 9 + 64 + 64 * 64 + 64, 0)},
    "mobilenetv1": {"pools.11": (128 * 256 * 9 + 256, 128 * 256 * 25 + 256, 128 * 9 + 128 + 128 * 256 + 256)},
    "tcresnet": {
        "blocks.0.first": (*(16 * 24 * k + 24 for k in (3, 9, 15)), 16 * 9 + 16 + 16 * 24 + 24),
        "blocks.2.second": (*(48 * 48 * k + 48 for k in (3, 9, 15)), 48 * 9 + 48 + 48 * 48 + 48, 0),
    },
    "vit": {
        "blocks.0.mixer": (
            *(2 * 64 + (64 * 3 * 16 * h + 3 * 16 * h) + (16 * h * 64 + 64) for h in (1, 2, 4)),
            2 * 64 + 64 * 9 + 64,
            2 * 64,
            0,
        ),
        "blocks.3.mlp": (*(2 * 64 + (64 * hidden + hidden) + (hidden * 64 + 64) for hidden in (64, 128, 256)), 0),
    },
    "proxyless": {
        "stages.0.0": tuple(mbconv(16, 24, k, e) for k in (3, 5, 7) for e in (3, 6)),
        "stages.4.3": (*(mbconv(192, 192, k, e) for k in (3, 5, 7) for e in (3, 6)), 0),
    },
}

# The authors' network for phones, stage by stage: "kernel-expansion" of the MBConv in each place.
PROXYLESS_MOBILE = [
    "5-3 3-3 skip skip",
    "7-3 3-3 5-3 5-3",
    "7-6 5-3 5-3 5-3",
    "5-6 5-3 5-3 5-3",
    "7-6 7-6 7-3 7-3",
    "7-6",
]


def test_the_space_is_as_large_as_its_docstring_says(reference: Reference) -> None:
    supergraph = reference.net.supergraph
    branches = sum(len(pool.branches) for pool in supergraph.pools)
    assert (len(supergraph.pools), branches, count(supergraph)) == SPACES[reference.name]


def test_the_supernet_maps_a_batch_to_logits(reference: Reference) -> None:
    classes = {"resnet8": 10, "dscnn": 12, "mobilenetv1": 2, "tcresnet": 7, "vit": 10, "proxyless": 1000}
    chosen = reference.net.export().to("meta")
    assert chosen(reference.module.example_input().to("meta")).shape == (2, classes[reference.name])


def test_branches_have_the_parameters_of_their_layers(reference: Reference) -> None:
    parts = measure(reference.net.supergraph, [params])["params"].decompose()
    assert not parts.joint
    for pool, expected in BRANCHES[reference.name].items():
        assert parts.branches[pool] == expected, pool


def test_params_are_those_of_the_chosen_network_with_batchnorm_folded(reference: Reference) -> None:
    supergraph = reference.net.supergraph
    table = measure(supergraph, [params])["params"]
    for selection in [*(all_of(supergraph, k) for k in range(7)), *random_selections(supergraph, 5)]:
        assert table.total(selection) == folded_parameters(reference.net.export(selection.as_dict())), selection


def folded_parameters(network: nn.Module) -> int:
    """Count a network's parameters once each BatchNorm is part of the convolution before it, as its bias."""
    total, before = 0, network
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert isinstance(before, nn.Conv1d | nn.Conv2d)
            total += module.num_features if before.bias is None else 0
        else:
            total += sum(parameter.numel() for parameter in module.parameters(recurse=False))
        before = module
    return total


def test_macs_are_half_the_flops_that_torch_counts(reference: Reference) -> None:
    supergraph = reference.net.supergraph
    table = measure(supergraph, [macs])["macs"]
    for selection in random_selections(supergraph):
        chosen = reference.net.export(selection.as_dict())
        assert 2 * table.total(selection) == flops(chosen, reference.module.example_input()[:1]), selection


def flops(network: nn.Module, inputs: Tensor) -> int:
    """Count a network's operations as torch does, without computing them.

    Attention is made to run as the two matrix products that it is: on a processor torch would take a fused kernel
    that its counter does not know, and count nothing.
    """
    network = network.eval().to("meta")
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(inputs.to("meta"))
    return counter.get_total_flops()


def test_one_step_trains_branches_and_logits(reference: Reference) -> None:
    net = copy.deepcopy(reference.net).train()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        inputs = training_input(reference.name)[:2]
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        loss = nn.functional.cross_entropy(net(inputs), torch.tensor([0, 1])) + net.cost / net.cost.detach()
        loss.backward()
    assert math.isfinite(loss.item())
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    for name, alpha in net.named_nas_parameters():
        assert (alpha.grad != 0).all(), name
    optimizer.step()
    before = dict(reference.net.named_parameters())
    for name, alpha in net.named_nas_parameters():
        assert (alpha != before[name]).any(), name


def test_a_pruned_file_computes_what_the_chosen_network_computes(reference: Reference) -> None:
    supergraph = supernet_onnx.read(reference.path)
    selection = supernet_onnx.argmax(supergraph)
    assert selection.as_dict() == reference.net.selection()
    subnet = supernet_onnx.prune(supergraph, selection)
    inputs = torch.randn(reference.module.example_input().shape, generator=torch.Generator().manual_seed(2))
    session = onnxruntime.InferenceSession(subnet.SerializeToString(), providers=["CPUExecutionProvider"])
    (actual,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    with torch.no_grad():
        expected = reference.net.export().eval()(inputs).numpy()
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 100 * TOLERANCE * scale  # two samples are told apart
    assert np.abs(actual - expected).max() < TOLERANCE * scale


def test_the_network_that_the_authors_of_proxylessnas_found_is_a_path_through_its_space() -> None:
    """The one for phones: 320 M multiply-accumulates say the authors, 4,080,512 parameters says pytorchcv."""
    model = proxyless.ProxylessNAS(stages=((32, 4, 2), *proxyless.STAGES[1:]))  # they widened the first stage
    for stage, places in zip(model.stages, PROXYLESS_MOBILE, strict=True):
        for index, found in enumerate(places.split()):
            kernel, _, expansion = found.partition("-")
            branch = found if found == "skip" else f"mb{expansion}_{kernel}x{kernel}"
            stage[index] = stage[index][stage[index].find(branch)]
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_080_512
    assert round(flops(model, proxyless.example_input()[:1]) / 2e6) == 320
