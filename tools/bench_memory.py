"""Compare ``peak_memory`` of random subnets with the block that onnxruntime's arena reserves for their activations.

``python tools/bench_memory.py FILE... [--selections N]``, FILE a marked model. Each subnet is run twice in a process of
its own, without workspaces and outputs: the second run follows a memory pattern, one block for all activations, whose
size the arena's log tells. The columns, in bytes:

- file order: ``peak_memory`` of the subnet as it is written;
- run order: ``peak_memory`` in the order that onnxruntime runs, after constants are folded;
- held: the most that is live at once of what lies in the block: tensors rounded up to 256 bytes, without graph inputs
  and outputs;
- packed: the same tensors over the same lifetimes, put into one block by best fit, as the pattern does;
- arena: the block, with onnxruntime's ``enable_mem_reuse`` off; its ratio to the run order;
- merged: the block with it on, the default: a tensor then lives on in the next one of equal shape.

So what the arena has beyond ``peak_memory`` is the gaps of packing, ``packed - held``. Exit code 1 if that does not
explain it: if the arena is not the packed size within 5 %, or ``peak_memory`` in run order, which counts graph inputs
and outputs, is not what is held within 5 % and those.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, helper

import supernet_onnx
from supernet_onnx.cost import measure, peak_memory
from supernet_onnx.selection import sample

TOLERANCE = 0.05
ALIGNMENT = 256
VIEWS = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
IN_PLACE = ("Clip", "Elu", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Softmax", "Tanh")
PROVIDERS = ["CPUExecutionProvider"]


def options() -> onnxruntime.SessionOptions:
    """Return options that run a model as it is, on one thread."""
    made = onnxruntime.SessionOptions()
    made.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    made.intra_op_num_threads = 1
    made.log_severity_level = 3
    return made


def feeds(session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """Return zeros for the inputs of a model without symbolic dims."""
    return {value.name: np.zeros(value.shape, np.float32) for value in session.get_inputs()}


def run_in_arena(path: str, reuse: str) -> None:
    """Run a model twice in an arena of its own that logs what it asks the system for. Called in a new process."""
    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.set_default_logger_severity(1)
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1}))
    asked = options()
    asked.enable_mem_reuse = reuse == "reuse"
    asked.add_session_config_entry("session.use_env_allocators", "1")
    session = onnxruntime.InferenceSession(path, asked, providers=PROVIDERS)
    shrinking = onnxruntime.RunOptions()
    shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    session.run(None, feeds(session), shrinking)
    print("second run", file=sys.stderr, flush=True)
    session.run(None, feeds(session))


def arena_bytes(path: Path, *, reuse: bool) -> int:
    """Return the size of the block that the second run reserves for the activations: its first request."""
    command = [sys.executable, __file__, "--arena", str(path), "reuse" if reuse else "no reuse"]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.search(r"Extended allocation by (\d+) bytes", log.partition("second run")[2])
    if found is None:
        raise RuntimeError(f"onnxruntime {onnxruntime.__version__} does not log what its arena asks for:\n{log}")
    return int(found[1])


def fold(model: ModelProto, path: Path) -> ModelProto:
    """Bind the batch to 1, fold constants, save; return the model with its nodes in the order that onnxruntime runs."""
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_value = 1
    del model.graph.value_info[:]
    folding = options()
    folding.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    folding.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(model.SerializeToString(), folding, providers=PROVIDERS)
    folded = onnx.load(path)
    for index, node in enumerate(folded.graph.node):
        node.name = f"node {index}"
    onnx.save(folded, path)
    profiling = options()
    profiling.enable_profiling = True
    profiling.profile_file_prefix = str(path.with_suffix(""))
    session = onnxruntime.InferenceSession(folded.SerializeToString(), profiling, providers=PROVIDERS)
    session.run(None, feeds(session))
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    names = [e["name"].removesuffix("_kernel_time") for e in events if e["name"].endswith("_kernel_time")]
    by_name = {node.name: node for node in folded.graph.node}
    nodes = [by_name[name] for name in names]
    del folded.graph.node[:]
    folded.graph.node.extend(nodes)
    return folded


def packed_bytes(model: ModelProto) -> tuple[int, int]:
    """Put the activations of a model into one block, each into the smallest gap that holds it while it lives.

    Returns:
        The most that is live in the block at once, and the size of the block.
    """
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    sizes = {}
    for value in graph.value_info:
        tensor = value.type.tensor_type
        elements = int(np.prod([dim.dim_value for dim in tensor.shape.dim]))
        size = elements * helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
        sizes[value.name] = -(-size // ALIGNMENT) * ALIGNMENT
    buffer = {name: name for name in sizes}  # that a tensor lies in
    readers: dict[str, int] = {}  # that are still to come, by buffer
    reads = [[name for name in node.input if name in sizes] for node in graph.node]
    count = {name: sum(names.count(name) for names in reads) for name in sizes}
    places: dict[str, tuple[int, int]] = {}
    held = whole = 0
    for node, names in zip(graph.node, reads, strict=True):
        first = buffer[names[0]] if names and names[0] == node.input[0] else ""
        for output in filter(sizes.__contains__, node.output):
            is_last = readers.get(first) == 1 and sizes[output] == sizes.get(first)
            if first and (node.op_type in VIEWS or (node.op_type in IN_PLACE and is_last)):
                buffer[output] = first
                readers[first] += count[output]
            else:
                readers[output] = count[output]
                places[output] = place(list(places.values()), sizes[output])
                whole = max(whole, sum(places[output]))
        held = max(held, sum(size for _, size in places.values()))
        for name in names:
            readers[buffer[name]] -= 1
        places = {name: taken for name, taken in places.items() if readers[name]}
    return held, whole


def place(taken: list[tuple[int, int]], size: int) -> tuple[int, int]:
    """Return offset and size of a tensor among others: in the smallest gap that holds it, or behind them."""
    gaps, end = [], 0
    for offset, length in sorted(taken):
        if offset - end >= size:
            gaps.append((offset - end, end))
        end = max(end, offset + length)
    return (min(gaps)[1] if gaps else end), size


def outside_bytes(model: ModelProto) -> int:
    """Return the bytes of graph inputs and outputs, which the caller owns."""
    types = (value.type.tensor_type for value in (*model.graph.input, *model.graph.output))
    return sum(
        int(np.prod([dim.dim_value for dim in tensor.shape.dim]))
        * helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
        for tensor in types
    )


def compare(path: Path, selections: int) -> bool:
    """Print a line for each of some random subnets; return whether all are explained."""
    supergraph = supernet_onnx.read(path)
    good = True
    for number, selection in enumerate(islice(sample(supergraph, seed=0), selections)):
        subnet = supernet_onnx.prune(supergraph, selection)
        in_file = measure(supernet_onnx.read(subnet), [peak_memory])["peak_memory"].trunk
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "subnet.onnx"
            run = fold(subnet, file)
            in_run = measure(supernet_onnx.read(run), [peak_memory])["peak_memory"].trunk
            held, packed = packed_bytes(run)
            outside = outside_bytes(run)
            arena, merged = (arena_bytes(file, reuse=reuse) for reuse in (False, True))
        good &= abs(arena - packed) <= TOLERANCE * packed
        good &= held * (1 - TOLERANCE) <= in_run <= held * (1 + TOLERANCE) + outside
        amounts = "".join(f"{amount:>12,}" for amount in (in_file, in_run, held, packed, arena))
        print(f"{path.stem:>16}{number:>4}{amounts}{arena / in_run:>8.3f}{merged:>12,}")
    return good


def main() -> int:
    """Compare all files, and say whether the differences are explained."""
    if sys.argv[1:2] == ["--arena"]:
        run_in_arena(*sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--selections", type=int, default=5)
    arguments = parser.parse_args()
    print(
        f"supernet-onnx {supernet_onnx.__version__}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, "
        f"Python {platform.python_version()}, 1 thread of {os.cpu_count()} cores, {platform.machine()}"
    )
    columns = ("file order", "run order", "held", "packed", "arena")
    print(f"{'model':>16}{'':>4}{''.join(f'{column:>12}' for column in columns)}{'ratio':>8}{'merged':>12}")
    results = [compare(path, arguments.selections) for path in arguments.files]
    good = all(results)
    print(f"all that the arena has beyond peak_memory is gaps, within {TOLERANCE:.0%}: {'ok' if good else 'FAILED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
