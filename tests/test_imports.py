"""What a command loads, seen in a fresh interpreter, and that the look would find it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests import marked

if TYPE_CHECKING:
    from pathlib import Path

LOOK = """
import json, sys
from supernet_onnx.cli import main
try:
    main(sys.argv[1:])
except SystemExit as exit:
    code = exit.code
print(json.dumps({"code": code, "loaded": sorted({name.partition(".")[0] for name in sys.modules})}), file=sys.stderr)
"""

HEAVY = {
    "matplotlib",
    "onnx_graphsurgeon",
    "onnxruntime",
    "onnxscript",
    "plotly",
    "optuna",
    "scipy",
    "sklearn",
    "torch",
}


def loaded(*arguments: object) -> set[str]:
    """Run a command to its end in a fresh interpreter and return the top-level packages that it loaded."""
    command = [sys.executable, "-c", LOOK, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    found = json.loads(done.stderr.splitlines()[-1])
    assert found["code"] == 0, done.stderr
    return set(found["loaded"])


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    return marked.write(marked.flat(), tmp_path / "flat.onnx")


@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.parametrize(
    ("verb", "allowed"),
    [
        (["inspect"], set()),
        (["cost"], set()),
        (["cost", "--by-node", "--by-op", "--unknown", "free"], set()),
        (["pareto"], {"scipy"}),
        (["report"], {"plotly"}),
        (["prune"], {"onnx_graphsurgeon"}),
        (["prune", "--dry-run", "--select", "pool=skip"], {"onnx_graphsurgeon"}),
        (["prune", "--dry-run", "--budget", "params=150"], {"onnx_graphsurgeon", "scipy"}),
    ],
)
def test_verbs_of_the_graph_half_load_neither_torch_nor_onnxruntime(
    verb: list[str], allowed: set[str], flags: list[str], flat: Path
) -> None:
    assert loaded(verb[0], flat, *verb[1:], *flags) & HEAVY == allowed


def test_measuring_loads_no_torch(flat: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 3, 8, 8), np.float32), labels=np.arange(4))
    arguments = ["--data", tmp_path / "d.npz", "--selections", 3, "-o", tmp_path / "s.json"]
    assert loaded("score", flat, *arguments) & HEAVY == {"onnxruntime", "onnx_graphsurgeon", "scipy"}
    arguments = ["--data", tmp_path / "d.npz", "--trials", 1]
    assert loaded("search", flat, *arguments) & HEAVY == {"onnxruntime", "onnx_graphsurgeon", "optuna", "scipy"}


def test_a_verb_that_runs_models_is_seen_to_load_onnxruntime_but_no_torch(flat: Path) -> None:
    assert loaded("bench", flat, "--rounds", "1") & HEAVY == {"onnxruntime"}
    assert loaded("prune", flat, "--verify") & HEAVY == {"onnxruntime", "onnx_graphsurgeon"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["prune", "--help"]])
def test_help_loads_nothing_that_takes_time(arguments: list[str]) -> None:
    assert loaded(*arguments) & (HEAVY | {"numpy", "onnx", "rich", "google"}) == set()


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, supernet_onnx; print(*sorted(name for name in sys.modules if name.startswith('supernet_onnx')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["supernet_onnx"]
