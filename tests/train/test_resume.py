"""A search that was killed and resumed ends where one that was not does, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from supernet_onnx import SuperNet
from tests.resumable import CHECKPOINT, STEPS, SUPERNET, WAYS, Search, build, search

MATTERING = (
    "net",
    "optimizer of the layers",
    "optimizer of the logits",
    "batches",
    "held-out batches",
    "learning rate",
    "temperature",
    "warm-up",
    "constraint",
    "dropout",
)


@pytest.fixture(scope="module")
def pristine() -> SuperNet:
    with torch.random.fork_rng():
        return build()


@pytest.fixture(scope="module")
def ends(pristine: SuperNet, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The last checkpoints of searches that ran to their end, and of such that went on where a process was killed."""
    whole, killed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("killed")
    for folder in (whole, killed):
        torch.save(pristine, folder / SUPERNET)
    with torch.random.fork_rng():
        search(whole)
    with start(killed) as process:
        kill_at_some_moment(process)
    assert process.returncode == -signal.SIGKILL
    assert load(killed)["steps"] < STEPS
    with start(killed) as process:
        process.communicate()
    assert process.returncode == 0
    return [load(folder) for folder in (whole, killed)]


def start(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}  # it decides the order of sums
    command = [sys.executable, "-m", "tests.resumable", str(folder)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)


def kill_at_some_moment(process: subprocess.Popen[str]) -> None:
    """Kill searches in their first half, after the first checkpoint, maybe while the next is written."""
    assert process.stdout is not None
    times = []
    for _ in range(random.randrange(2, STEPS // 2)):
        process.stdout.readline()
        times.append(time.monotonic())
    time.sleep(random.uniform(0, times[-1] - times[-2]))
    process.kill()


def load(folder: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(folder / CHECKPOINT, weights_only=True)
    return checkpoint


@pytest.mark.parametrize("way", WAYS)
def test_a_search_killed_at_some_moment_and_resumed_in_another_process_ends_with_the_same_bits(
    ends: list[dict[str, Any]], way: str
) -> None:
    whole, resumed = (end["searches"][way] for end in ends)
    assert list(whole) == list(resumed)
    assert [part for part, state in whole.items() if not is_equal(state, resumed[part])] == []


@pytest.fixture(scope="module")
def halfway(pristine: SuperNet) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The states of a search after half of its steps, and that of its net after all of them."""
    with torch.random.fork_rng():
        whole = Search(pristine, WAYS["gumbel"])
        run(whole)
        saved = pytree.tree_map_only(Tensor, torch.clone, {**whole.state(), "dropout": torch.get_rng_state()})
        run(whole)
    return saved, whole.net.state_dict()


def run(half: Search) -> None:
    for _ in range(STEPS // 2):
        half.step()


@pytest.mark.parametrize("left_out", [None, *MATTERING])
def test_a_search_resumed_without_one_of_its_states_ends_elsewhere(
    pristine: SuperNet, halfway: tuple[dict[str, Any], dict[str, Tensor]], left_out: str | None
) -> None:
    saved, expected = halfway
    with torch.random.fork_rng():
        resumed = Search(pristine, WAYS["gumbel"])
        state = {part: part_state for part, part_state in saved.items() if part != left_out}
        dropout = state.pop("dropout", None)
        resumed.restore(state)
        torch.manual_seed(99)
        if dropout is not None:
            torch.set_rng_state(dropout)
        run(resumed)
    assert is_equal(resumed.net.state_dict(), expected) == (left_out is None)


def is_equal(one: object, other: object) -> bool:
    """Whether two structures hold equal tensors, bit for bit, and equal numbers."""
    (leaves, spec), (others, other_spec) = pytree.tree_flatten(one), pytree.tree_flatten(other)
    return spec == other_spec and all(map(_is_equal_leaf, leaves, others))


def _is_equal_leaf(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other
