"""A measure of a model on data, in onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet_onnx.runtime.session import open_session

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

    from supernet_onnx.runtime.batches import Batches
    from supernet_onnx.runtime.measures import Measure

__all__ = ["evaluate"]


def evaluate(
    model: ModelProto,
    batches: Batches,
    measure: Measure,
    *,
    target: str,
    directory: Path | None = None,
    threads: int | None = None,
) -> float:
    """Return the mean of a measure over all samples.

    Args:
        model: Not changed.
        batches: Those of the data, with the targets in them.
        measure: What to measure.
        target: The name of the targets.
        directory: The folder that the model's external data are relative to.
        threads: Of onnxruntime; its own choice if left out.

    Raises:
        RunError: onnxruntime refuses the model or a batch, or the measure fails.
    """
    session = open_session(model, directory=directory, where="the subnet", threads=threads)
    total = 0.0
    for batch in batches:
        targets = batch.pop(target)
        total += measure.of(session.run(batch), targets) * len(targets)
    return total / batches.num_samples
