"""Every place in a message that names a tensor: to rename what met at a pool, and to find what is still mentioned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onnx import AttributeProto, GraphProto, NodeProto, TensorAnnotation, TrainingInfoProto

from supernet_onnx.graph import captured, defined, has_subgraphs, subgraphs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["kept_annotations", "mentioned", "nested_parameters", "parameters", "restore"]

_GRADIENT: Final = ("ai.onnx.preview.training", "Gradient")
"""The one standard operator whose attributes name tensors."""


def restore(target: NodeProto, source: NodeProto, reads: Iterable[str], names: Mapping[str, str]) -> None:
    """Copy a node, and give the tensors that it reads and makes their new names.

    Args:
        target: An empty node, which becomes the copy.
        source: Not changed.
        reads: What the source reads, in nested graphs too.
        names: ``{old: new}``.
    """
    target.CopyFrom(source)
    reads_renamed = not names.keys().isdisjoint(reads)
    makes_renamed = not names.keys().isdisjoint(source.output)
    if reads_renamed:
        _rename_reads(target, names)
    if makes_renamed:
        target.output[:] = [names.get(name, name) for name in source.output]
    if makes_renamed and not reads_renamed:
        _rename_shards(target, names)


def _rename_reads(node: NodeProto, names: Mapping[str, str]) -> None:
    for position, name in enumerate(node.input):
        if name in names:
            node.input[position] = names[name]
    _rename_shards(node, names)
    for graph in subgraphs(node) if has_subgraphs(node) else ():
        seen = {name: names[name] for name in captured(graph) if name in names}
        if seen:
            _rename_captured(graph, seen)


def _rename_captured(graph: GraphProto, seen: dict[str, str]) -> None:
    """Rename what a nested graph reads from outside of itself; what it makes itself hides the name from then on."""
    for value in graph.value_info:
        value.name = seen.get(value.name, value.name)
    for annotation in graph.quantization_annotation:
        _rename_annotation(annotation, seen)
    for node in graph.node:
        _rename_reads(node, seen)
        for name in node.output:
            seen.pop(name, None)
    for value in graph.output:
        value.name = seen.get(value.name, value.name)


def _rename_shards(node: NodeProto, names: Mapping[str, str]) -> None:
    for configuration in node.device_configurations:
        for spec in configuration.sharding_spec:
            spec.tensor_name = names.get(spec.tensor_name, spec.tensor_name)


def _rename_annotation(annotation: TensorAnnotation, names: Mapping[str, str]) -> None:
    annotation.tensor_name = names.get(annotation.tensor_name, annotation.tensor_name)
    for entry in annotation.quant_parameter_tensor_names:
        entry.value = names.get(entry.value, entry.value)


def kept_annotations(
    source: GraphProto, present: Collection[str], made: Collection[str], names: Mapping[str, str]
) -> Iterator[TensorAnnotation]:
    """Iterate over the quantization annotations of what is left; a renamed tensor takes its own along.

    An annotation goes with a parameter that a dead node made.

    Args:
        source: The graph before the surgery.
        present: What a node that is left reads or makes, by its new name.
        made: The renamed tensors that a node makes which is left, by their old names.
        names: ``{old: new}``.
    """
    annotated = {annotation.tensor_name for annotation in source.quantization_annotation}
    computed = {name for node in source.node for name in node.output} if annotated else set()
    for annotation in source.quantization_annotation:
        name = annotation.tensor_name
        if name not in present and (name not in made or names[name] in annotated):
            continue
        if any(value in computed and names.get(value, value) not in present for value in parameters([annotation])):
            continue
        renamed = TensorAnnotation()
        renamed.CopyFrom(annotation)
        _rename_annotation(renamed, names if name in made else {old: new for old, new in names.items() if old != name})
        yield renamed


def parameters(annotated: Iterable[TensorAnnotation]) -> Iterator[str]:
    """Iterate over the tensors that quantization annotations name as their parameters."""
    for annotation in annotated:
        for entry in annotation.quant_parameter_tensor_names:
            yield entry.value


def nested_parameters(node: NodeProto) -> Iterator[str]:
    """Iterate over the parameters of the quantization annotations in a node's nested graphs."""
    for graph in subgraphs(node):
        yield from parameters(graph.quantization_annotation)
        for inner in graph.node:
            yield from nested_parameters(inner)


def mentioned(training: TrainingInfoProto) -> set[str]:
    """Return the tensors of the main graph that a training step names.

    Its algorithm is a continuation of the main graph (onnx.proto, ``TrainingInfoProto.algorithm``): it reads whatever
    that makes, binds its results to initializers of either, and names tensors in the attributes of Gradient nodes.
    """
    own = defined(training.algorithm)
    names = captured(training.initialization) | captured(training.algorithm)
    names.update(entry.key for entry in (*training.initialization_binding, *training.update_binding))
    names.update(_differentiated(training.algorithm))
    return names - own


def _differentiated(graph: GraphProto) -> Iterator[str]:
    for node in graph.node:
        if (node.domain, node.op_type) == _GRADIENT:
            for attribute in node.attribute:
                raw = attribute.strings if attribute.type == AttributeProto.STRINGS else [attribute.s]
                yield from (name.decode(errors="replace") for name in raw if name)
        for inner in subgraphs(node):
            yield from _differentiated(inner)
