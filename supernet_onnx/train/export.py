"""From a torch model with pools to a marked ONNX model: trace, translate, mark.

The tracing and the translation are torch's own (``torch.export`` and ``torch.onnx``); ours is the mark.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from itertools import chain, count
from typing import TYPE_CHECKING, Final

import onnx_ir as ir
import torch
from onnx import ModelProto, helper
from torch import Tensor, nn

import supernet_onnx
from supernet_onnx import marks, storage
from supernet_onnx.errors import ExportError
from supernet_onnx.recovery import record
from supernet_onnx.train.keeping import give_back, hide
from supernet_onnx.train.marking import BARE_OP, marking
from supernet_onnx.train.ranking import written_scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from supernet_onnx.train.example import Example
    from supernet_onnx.train.pool import SuperNetModule

__all__ = ["structure", "trace", "write"]

_BATCH: Final = "batch"
_PLACE_OF_WEIGHTS: Final = "not-stored"
_STRUCTURAL: Final = 1024  # elements; smaller initializers may be shapes and indices, and cost nothing to keep
_STACK_TRACE: Final = "pkg.torch.onnx.stack_trace"
_INLINE_LIMIT: Final = 1_800_000_000  # bytes of weights; protobuf holds 2 GiB


def trace(
    model: nn.Module, example: Example, pools: Mapping[str, SuperNetModule], *, dynamic_batch: bool
) -> torch.export.ExportedProgram:
    """Trace a model in eval mode; its pools leave marks.

    Mode, hooks, values, device and the random state are left as they were.

    Args:
        model: Not changed.
        example: Inputs; a batch of 1 is doubled if the batch is to be dynamic.
        pools: The pools of the model by name.
        dynamic_batch: Keep the first dim of batched inputs symbolic.

    Raises:
        ExportError: torch.export refuses the model.
        PoolError: The branches of a pool do not fit together.
    """
    shapes = None
    example = example.on(model)
    if dynamic_batch and example.batch is not None:
        example = example.widened()
        shapes = example.dynamic_shapes(model, torch.export.Dim(_BATCH))
    for name, pool in pools.items():
        pool.name = name
    with _undisturbed(model), _quiet(), marking(pools):
        try:
            return torch.export.export(model, example.args, example.kwargs, dynamic_shapes=shapes, strict=False)
        except (RuntimeError, ValueError, TypeError, AssertionError, torch._dynamo.exc.UserError) as error:
            raise ExportError(_explain(error, dynamic_batch=shapes is not None)) from error


def structure(program: torch.export.ExportedProgram, pools: Mapping[str, SuperNetModule]) -> ModelProto:
    """Return the marked ONNX model of a trace for pricing: its structure is exact, its weights are not there.

    The exporter's optimizer looks at values: it drops zero biases and merges equal initializers, and a fresh
    network is full of zeros and ones. So it is given distinct values in place of every parameter and buffer.
    Large initializers are then left out of the model, as external data that do not exist.

    Args:
        program: A trace; it is used up, the values in it are replaced.
        pools: The pools by name.
    """
    _make_distinct(program.state_dict)
    translated = _translate(program)
    for value in translated.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.size > _STRUCTURAL:
            shape = ir.Shape(tensor.shape.numpy())
            value.const_value = ir.ExternalTensor(
                _PLACE_OF_WEIGHTS, 0, tensor.nbytes, tensor.dtype, shape=shape, name=value.name or ""
            )
    return _mark(ir.to_proto(translated), pools)


def write(
    program: torch.export.ExportedProgram,
    pools: Mapping[str, SuperNetModule],
    path: Path,
    *,
    fold_batchnorm: bool = True,
) -> None:
    """Write the marked ONNX model of a trace with its values, atomically; over 2 GiB with external data.

    Args:
        program: The trace.
        pools: The pools by name.
        path: Where to.
        fold_batchnorm: Fold each BatchNorm into the convolution before it.

    Raises:
        OutputError: The file cannot be written; nothing is left of it.
    """
    translated = _translate(program, fold_batchnorm=fold_batchnorm)
    weights = sum(value.const_value.nbytes for value in translated.graph.initializers.values() if value.const_value)
    if weights < _INLINE_LIMIT:
        storage.save(_mark(ir.to_proto(translated), pools), path)
        return
    with storage.scratch(path.absolute().parent) as folder:
        whole = folder / "model.onnx"
        ir.save(translated, whole, external_data="weights.data")
        storage.save(_mark(storage.load(whole), pools), path, directory=folder)


def _translate(program: torch.export.ExportedProgram, *, fold_batchnorm: bool = True) -> ir.Model:
    """Translate a trace to ONNX with torch's exporter and its optimizer, and name the batch dim."""
    symbols = {str(symbol) for symbol in program.range_constraints}
    with _quiet(), torch.no_grad():  # autograd refuses an example that was made in inference mode
        try:
            translated = torch.onnx.export(program, dynamo=True, optimize=fold_batchnorm, verbose=False)
            assert translated is not None
            if not fold_batchnorm:
                kept = hide(translated.model)
                translated.optimize()
                give_back(translated.model, kept)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ExportError(f"torch.onnx cannot translate the model: {_first_line(error)}") from error
        if len(symbols) == 1:
            translated.rename_axes({symbols.pop(): _BATCH})
    model: ir.Model = translated.model
    for node in model.graph:
        node.metadata_props.pop(_STACK_TRACE, None)  # paths and source lines of the machine that exported
    _name_pools(model)
    return model


def _name_pools(model: ir.Model) -> None:
    """Name each mark and its output after its pool; a graph output may be one."""
    taken = {value.name for node in model.graph for value in node.outputs}
    taken.update(value.name for value in (*model.graph.inputs, *model.graph.initializers.values()))
    for node in model.graph:
        if node.domain == marks.DOMAIN:
            pool = node.attributes["pool"].as_string()
            name = next(name for name in chain([pool], (f"{pool}_{i}" for i in count(1))) if name not in taken)
            taken.add(name)
            node.name = node.outputs[0].name = name


def _mark(model: ModelProto, pools: Mapping[str, SuperNetModule]) -> ModelProto:
    """Complete the bare marks of a translated model in place: weights, operator type, functions, metadata."""
    used: dict[str, SuperNetModule] = {}
    scores = written_scores(pools) or {}
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    for node in model.graph.node:
        if node.domain != marks.DOMAIN:
            continue
        assert node.op_type == BARE_OP
        attributes = {attribute.name: attribute for attribute in node.attribute}
        name = attributes["pool"].s.decode()
        pool = used[name] = pools[name]
        mark = marks.Mark(name, pool.branch_names, attributes["call"].i, scores.get(name))
        kept = list(node.metadata_props)
        node.CopyFrom(marks.encode(mark, list(node.input), node.output[0], name=node.name))
        node.metadata_props.extend(kept)
    for name, pool in used.items():
        weights = pool.mixing_weights().float().cpu().tolist()
        model.graph.initializer.append(helper.make_tensor(marks.weights_name(name), 1, [len(weights)], weights))
    for size in sorted({len(pool) for pool in used.values()}):
        model.functions.append(marks.pool_function(size, opset=opset))
    helper.set_model_props(
        model,
        {
            **{entry.key: entry.value for entry in model.metadata_props},
            marks.FORMAT_KEY: marks.FORMAT,
            marks.VERSION_KEY: supernet_onnx.__version__,
        },
    )
    record.keep(model)
    return model


def _make_distinct(tensors: dict[str, Tensor]) -> None:
    """Replace floating-point tensors by ones of the same shape, no two equal; tied tensors stay tied.

    Values are near 1, so that variances are positive. The first element tells small tensors apart: the k-th one
    has the k-th value of a grid that every format from bfloat16 up represents.
    """
    generator = torch.Generator().manual_seed(0)
    made: dict[int, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        key = id(tensor)
        if key not in made:
            count = len(made)
            values = torch.rand(tensor.shape, generator=generator).add_(0.5)
            if values.numel():
                values.view(-1)[0] = (1 + count % 128 / 128) * 2.0 ** (count // 128 % 14 - 6)
            values = values.to(tensor.dtype)
            made[key] = nn.Parameter(values, requires_grad=False) if isinstance(tensor, nn.Parameter) else values
        tensors[name] = made[key]


def _explain(error: BaseException, *, dynamic_batch: bool) -> str:
    line = _first_line(error)
    if dynamic_batch and "batch" in line.lower() and "constraint" in line.lower():
        return (
            f"the model fixes its batch size: {line}; compute sizes from x.shape[0], or export with dynamic_batch=False"
        )
    fixed = ", or, if it fixes its batch size, export with dynamic_batch=False" if dynamic_batch else ""
    return (
        f"torch.export cannot trace the model: {line}; run the model on the same inputs to see whether the error is "
        f"its own, and keep data-dependent Python control flow out of forward{fixed}"
    )


def _first_line(error: BaseException) -> str:
    """Return the first line of the innermost cause, which says what is wrong; the outer ones say where torch was."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode for the block; give back each module's own mode and torch's random state."""
    modes = [(module, module.training) for module in model.modules()]
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    for module, _ in modes:
        module.training = False  # model.eval() may do more in a user's class, such as merge weights
    try:
        with torch.random.fork_rng(devices=list(devices)), torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch's exporter says of itself: deprecations inside of it, operators of absent packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
