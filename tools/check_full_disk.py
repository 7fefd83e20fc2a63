"""Prune to a disk that is full: a tmpfs of a few MiB, with more or less of it taken.

``python tools/check_full_disk.py``, as root or where users may have namespaces of their own (Linux). The output of an
earlier prune stands there; another one must replace it whole, or fail in one line, with exit code 2, and leave it and
nothing else. The weights are in the model file, in external data, and in external data without the look at the free
space that comes first, so that writing itself fails. Exit code 1 if anything else happens.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

import supernet_onnx
from supernet_onnx import marks
from supernet_onnx.cli import main as program
from supernet_onnx.storage import saving

ELEMENTS = 1 << 18  # of a branch: a MiB
SIZE = "5m"
STEPS = 24


def supernet(folder: Path, *, is_external: bool) -> Path:
    """Write a supernet of two branches with a MiB each."""
    folder.mkdir()
    nodes, initializers = [], []
    for branch in "ab":
        tensor = numpy_helper.from_array(np.full(ELEMENTS, ord(branch), np.float32), f"{branch}.weight")
        nodes.append(helper.make_node("Add", ["x", tensor.name], [branch]))
        initializers.append(tensor)
    nodes.append(marks.encode(marks.Mark("pool", ("a", "b")), ["a", "b"], "y"))
    initializers.append(numpy_helper.from_array(np.array([0.5, 0.5], np.float32), marks.weights_name("pool")))
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [ELEMENTS]) for name in "xy"]
    graph = helper.make_graph(nodes, "full", value[:1], value[1:], initializers)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(marks.DOMAIN, marks.OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=[marks.pool_function(2, opset=20)])
    onnx.save(model, folder / "model.onnx", save_as_external_data=is_external, size_threshold=1024)
    return folder / "model.onnx"


def branch_of(path: Path) -> str:
    """Return the branch that an output holds, whole; an empty text if it is anything else."""
    try:
        model = onnx.load(path)
    except (onnx.checker.ValidationError, OSError, ValueError):
        return ""
    (tensor,) = model.graph.initializer
    values = numpy_helper.to_array(tensor)
    name = tensor.name[:1]
    return name if values.shape == (ELEMENTS,) and (values == ord(name)).all() else ""


def attempt(model: Path, disk: Path, taken: int) -> str:
    """Prune to a disk of which so many bytes are taken; say how it ended."""
    for left in disk.iterdir():
        left.unlink()
    output = disk / "out.onnx"
    assert CliRunner().invoke(program, ["prune", str(model), "-o", str(output), "--select", "pool=a"]).exit_code == 0
    (disk / "ballast").write_bytes(bytes(taken))
    before = sorted(path.name for path in disk.iterdir())
    result = CliRunner().invoke(program, ["prune", str(model), "-o", str(output), "--select", "pool=b"])
    after = sorted(path.name for path in disk.iterdir())
    data = [path for path in disk.iterdir() if path.name.endswith(".data")]
    if result.exit_code == 0 and branch_of(output) == "b" and len(after) == len(before) and len(data) < 2:
        return "replaced"
    if result.exit_code == 2 and result.stderr.count("\n") == 1 and branch_of(output) == "a" and after == before:
        return "no space" if "No space left" in result.stderr else "no room" if "has" in result.stderr else "failed"
    return f"WRONG: exit code {result.exit_code}, {after}, holds '{branch_of(output)}': {result.stderr.strip()}"


def inside() -> int:
    """Do it all, in a namespace of our own."""
    look = saving._check_room
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        disk = Path(name) / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", disk], check=True)
        try:
            for kind in ("inline", "external", "external, unlooked"):
                model = supernet(Path(name) / kind, is_external=kind != "inline")
                saving._check_room = look if kind == "external" else lambda *_: None
                room = shutil.disk_usage(disk).total - (1 << 20) - (1 << 16)  # beside the old output
                ends = Counter(attempt(model, disk, room * step // STEPS) for step in range(STEPS + 1))
                wrong += sum(count for end, count in ends.items() if end.startswith("WRONG"))
                print(f"{kind:20} " + ", ".join(f"{count} {end}" for end, count in sorted(ends.items())))
        finally:
            subprocess.run(["umount", disk], check=True)
    print(f"supernet-onnx {supernet_onnx.__version__}, onnx {onnx.__version__}, Python {platform.python_version()}")
    return 1 if wrong else 0


def main() -> int:
    """Start again in a namespace where a tmpfs may be mounted."""
    if "--inside" in sys.argv:
        return inside()
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    return subprocess.run([*unshare, sys.executable, __file__, "--inside"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
