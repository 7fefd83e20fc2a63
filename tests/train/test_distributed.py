"""Two processes train as one with the whole batch: same paths, losses, gradients and costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from modes import MODES, Linears, fresh, ran
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from supernet_onnx import SuperNet

if TYPE_CHECKING:
    from pathlib import Path

RANKS = 2
STEPS = 6
BATCH = 8


def train(net: SuperNet, call: nn.Module, x: Tensor, rank: int, ranks: int) -> dict[str, object]:
    """Train on this rank's share of the batches; return what was seen."""
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    record = ran(net)
    seen: dict[str, list[object]] = {"paths": [], "losses": [], "costs": []}
    for batch in x.split(BATCH):
        for branches in record.values():
            branches.clear()
        mine = batch[rank::ranks]
        loss = (call(mine) - mine.sin()).pow(2).mean()
        cost = net.cost
        optimizer.zero_grad()
        (loss + 1e-3 * cost).backward()
        optimizer.step()
        seen["paths"].append({name: sorted(branches) for name, branches in record.items()})
        seen["losses"].append(float(loss.detach()))
        seen["costs"].append(float(cost.detach()))
    whole = StateDictOptions(full_state_dict=True)
    return {**seen, "state": get_model_state_dict(net, options=whole)}


def work(rank: int, folder: str) -> None:
    """Train in every mode as one of several processes; the seeds differ until the first forward."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    pristine: SuperNet = torch.load(f"{folder}/net.pt", weights_only=False)
    x = torch.load(f"{folder}/x.pt")
    seen = {}
    for name in MODES:
        net = fresh(pristine, name, seed=5 if rank == 0 else 6)
        seen[name] = train(net, DistributedDataParallel(net, find_unused_parameters=name not in SOFT), x, rank, RANKS)
    for name in SHARDED:
        net = fresh(pristine, name, seed=5)
        seen[f"{name}, sharded"] = train(net, shard(net), x, rank, RANKS)
    torch.save(seen, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def shard(net: SuperNet) -> nn.Module:
    """Give each process a part of each branch, and of the rest; inner pools come after outer ones."""
    mesh = init_device_mesh("cpu", (RANKS,))
    for pool in reversed(net.pools.values()):
        for branch in pool.branches:
            if not isinstance(branch, nn.Identity):
                fully_shard(branch, mesh=mesh)
    return fully_shard(net, mesh=mesh)


SOFT = ("softmax", "gumbel", "gumbel_hard", "hard")
SHARDED = ("softmax", "gumbel", "single_path")
RUNS = [*MODES, *(f"{name}, sharded" for name in SHARDED)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, object]]]:
    """What two processes saw, and what one does."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    torch.manual_seed(0)
    pristine = SuperNet(Linears(), input_shape=(4,))
    x = torch.randn(STEPS * BATCH, 4)
    torch.save(pristine, folder / "net.pt")
    torch.save(x, folder / "x.pt")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=RANKS)
    alone = {}
    for name in MODES:
        net = fresh(pristine, name, seed=5)
        alone[name] = train(net, net, x, 0, 1)
    for name in SHARDED:
        alone[f"{name}, sharded"] = alone[name]
    return [*(torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)), alone]


@pytest.mark.parametrize("name", RUNS)
def test_all_processes_sample_the_same_paths_and_pay_the_same(
    runs: list[dict[str, dict[str, object]]], name: str
) -> None:
    first, second, alone = (run[name] for run in runs)
    assert first["paths"] == second["paths"] == alone["paths"]
    assert first["costs"] == second["costs"]
    assert first["costs"] == pytest.approx(alone["costs"], rel=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_as_one_with_the_whole_batch(runs: list[dict[str, dict[str, object]]], name: str) -> None:
    first, second, alone = (run[name] for run in runs)
    means = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert means == pytest.approx(alone["losses"], rel=1e-5)
    for key, value in alone["state"].items():
        if key == "_extra_state" and not MODES[name.removesuffix(", sharded")].draws:
            continue  # where nothing is drawn, nobody agreed on a seed
        assert torch.equal(first["state"][key], second["state"][key]), key
        assert torch.allclose(first["state"][key].double(), value.double(), rtol=1e-5, atol=1e-6), key
