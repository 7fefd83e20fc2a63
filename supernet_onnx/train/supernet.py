"""``SuperNet``: wraps a model with pools, prices it, and exports it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from supernet_onnx.cost import params
from supernet_onnx.errors import ExportError, PoolError
from supernet_onnx.supergraph import read
from supernet_onnx.train import export, watching
from supernet_onnx.train.costs import Priced
from supernet_onnx.train.decisions import PoolSummary
from supernet_onnx.train.distributed import anchor, is_distributed
from supernet_onnx.train.drawing import draw, is_in_backward
from supernet_onnx.train.example import make_example
from supernet_onnx.train.extract import extract
from supernet_onnx.train.parameters import Trained
from supernet_onnx.train.pool import pools_of
from supernet_onnx.train.sampling import Draws, Sampling, from_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from supernet_onnx.cost import Metric
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph
    from supernet_onnx.train.watching import ScalarWriter

__all__ = ["PoolSummary", "SuperNet"]


class SuperNet(Priced, Trained):
    """A model with pools, whose cost is a differentiable function of the pools' logits.

    The model is traced once and turned into a marked ONNX model in memory, on which everything is priced. It keeps
    its mode, device, values and hooks, and torch's random state is not touched. Train through this wrapper, so that
    a pool that is used twice samples once for each forward.

    Args:
        model: Contains ``SuperNetModule`` layers, or is one.
        cost: A metric of ``supernet_onnx.cost``, or several by names of your own: ``{"size": params, "work": macs}``.
        input_example: Inputs to trace with: a tensor, a tuple of positional or a dict of keyword inputs, with a
            batch as first dim. Its size does not matter: costs are for one sample, unless the model fixes its batch
            size; then they are for the example's batch.
        input_shape: Instead, the shape of a single input without the batch; ``(3, 32, 32)``.
        full_cost: Count what no selection can remove, too.
        sampling: How training samples, by name or as an object of ``supernet_onnx.train.sampling``; None leaves what
            each pool was made with.
        seed: Of what training draws; None takes torch's, without drawing from it. The first forward of a distributed
            training makes that of rank 0 the seed of all.

    Attributes:
        model: The model itself.

    Raises:
        PoolError: There is no pool, or the branches of one do not fit together.
        ExportError: torch.export cannot trace the model, or torch.onnx cannot translate it.
        CostError: An operator or shape cannot be priced.
        TypeError: Both or neither of ``input_example`` and ``input_shape`` are given, or ``cost`` is no metric.
    """

    def __init__(
        self,
        model: nn.Module,
        cost: Metric | Mapping[str, Metric] = params,
        input_example: object = None,
        input_shape: Sequence[int] | None = None,
        full_cost: bool = False,
        sampling: Sampling | str | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._full_cost = full_cost
        self._frozen: set[str] = set()
        self._pools = dict(pools_of(model))
        if not self._pools:
            raise PoolError("the model has no pool; make at least one of its layers a SuperNetModule")
        self._draws = Draws(seed)
        for pool in self._pools.values():
            pool._draws = self._draws
        if sampling is not None:
            self.sampling = sampling
        self._example = make_example(model, input_shape, input_example)
        self._supergraph = read(export.structure(self._trace_for_pricing(), self._pools))
        self.cost_specification = cost

    def forward(self, *args: object, **kwargs: object) -> object:
        """Run the model on the arguments; pools that sample draw anew, unless a backward recomputes activations.

        Raises:
            RuntimeError: They are recomputed by ``checkpoint(net, ..., use_reentrant=True)``.
        """
        drawing = any(pool.training and pool.sampling.draws for pool in self._pools.values())
        drawing = drawing and not is_in_backward(of_whole=True)
        if drawing:
            draw(self._draws, self._pools.values())
        try:
            output = self.model(*args, **kwargs)
        finally:
            if drawing:
                self._draws.under_way = False
        return anchor(output, [pool.alpha for pool in self._pools.values()]) if is_distributed() else output

    @property
    def sampling(self) -> Sampling | None:
        """How training samples: that of all pools, None if they differ.

        Set it, at any time, to an object of ``supernet_onnx.train.sampling`` or a name: ``softmax``, ``gumbel``,
        ``gumbel_hard``, ``hard``, ``single_path``, ``two_path`` or ``uniform``.
        """
        first, *others = (pool.sampling for pool in self._pools.values())
        return first if all(other == first for other in others) else None

    @sampling.setter
    def sampling(self, value: Sampling | str) -> None:
        way = from_name(value) if isinstance(value, str) else value
        if not isinstance(way, Sampling):
            raise TypeError(f"sampling must be a name or an object of Sampling, not {value!r}")
        for pool in self._pools.values():
            pool.sampling = way

    @contextlib.contextmanager
    def path(self, selection: Mapping[str, str | int] | Selection) -> Iterator[None]:
        """Run the given branch of each pool named, alone, in all forwards in this block, in ``train`` and ``eval``.

        ``with net.path({"pool": "branch"}): net(x)`` evaluates a selection with the supernet's weights. The other
        pools are as ever. The logits of the pools named get no gradient from the task. ``net.cost`` and exports do
        not change.

        Args:
            selection: A branch, by name or index, for some pools or all; or what ``choose`` found.

        Raises:
            SelectionError: A pool or branch is not there.
        """
        choices = self._find(selection)
        before = {pool: pool._fixed for pool in choices}
        try:
            for pool, index in choices.items():
                pool._fixed = index
            yield
        finally:
            for pool, index_before in before.items():
                pool._fixed = index_before

    def get_extra_state(self) -> Tensor:
        """Return the state of what training draws, for ``state_dict``."""
        return torch.tensor([self._draws.seed, self._draws.step])

    def set_extra_state(self, state: Tensor) -> None:
        """Take the state of what training draws from a ``state_dict``."""
        self._draws.seed, self._draws.step = state.tolist()

    def log(self, writer: ScalarWriter, step: int) -> None:
        """Write the weights of every pool, the entropies, and the expected and selected costs to TensorBoard.

        Args:
            writer: A ``SummaryWriter``, or whatever else has its ``add_scalar``.
            step: The number of the epoch or step.
        """
        watching.log(self, writer, step)

    @property
    def supergraph(self) -> SuperGraph:
        """The marked ONNX graph on which everything is priced; its large weights are left out."""
        return self._supergraph

    def update_softmax_options(
        self, temperature: float | None = None, hard: bool | None = None, gumbel: bool | None = None
    ) -> None:
        """Set the temperature, and the sampling by PLiNIO's two options; None leaves an option as it is.

        Args:
            temperature: Divides the logits.
            hard: Sample with ``Hard()``, or with ``Gumbel(hard=True)``.
            gumbel: Sample with ``Gumbel()``.
        """
        for pool in self._pools.values():
            if temperature is not None:
                pool.temperature = temperature
            if gumbel is not None:
                pool.gumbel_softmax = gumbel
            if hard is not None:
                pool.hard_softmax = hard

    def export(self, selection: Mapping[str, str | int] | Selection | None = None) -> nn.Module:
        """Return the chosen network as a plain module, to fine-tune: each pool is replaced by one of its branches.

        The result is a deep copy that shares nothing with the supernet and contains no class of this package. It is
        in the mode that the model is in, trainable as the model was before ``train_nas_only``, and its
        ``state_dict`` has the names of a model written with the branch in the pool's place. Hooks on a pool itself go
        with the pool; those of all other modules stay. The supernet is unchanged.

        Args:
            selection: A branch, by name or index, for some pools or all; or what ``choose`` found. Other pools take
                the branch of largest logit.

        Raises:
            SelectionError: A pool or branch is not there.
        """
        choices = self._choices(selection or {})
        frozen = [parameter for name, parameter in self.named_net_parameters() if name in self._frozen]
        return extract(self.model, choices, thaw=frozen)

    def export_onnx(self, path: str | Path, dynamic_batch: bool = True, fold_batchnorm: bool = True) -> None:
        """Write the supernet as one ONNX file in which every pool is marked, as ``eval`` computes it.

        Any ONNX runtime executes it as the mixture; ``supernet-onnx`` inspects, prices and prunes it. A hard pool's
        weights are one-hot, and hide the others: unless the pools have scores, the logs of the weights are written as
        such.

        Args:
            path: Replaced whole, or left as it is if something fails. A model over 2 GiB keeps its weights in
                ``NAME.data`` beside it.
            dynamic_batch: Keep the batch size open, as the dim ``batch``; else it is that of the example.
            fold_batchnorm: Fold each BatchNorm into the convolution before it, as torch's exporter does. With False
                ``prune --recalibrate`` can estimate the statistics of the chosen path anew. Both files cost the same.

        Raises:
            ExportError: The model cannot be traced or translated.
            OutputError: The file cannot be written.
        """
        program = export.trace(self.model, self._example, self._pools, dynamic_batch=dynamic_batch)
        export.write(program, self._pools, Path(path), fold_batchnorm=fold_batchnorm)

    def _trace_for_pricing(self) -> torch.export.ExportedProgram:
        """Trace with an open batch size; with the example's own if the model fixes it."""
        try:
            return export.trace(self.model, self._example, self._pools, dynamic_batch=True)
        except ExportError as error:
            try:
                return export.trace(self.model, self._example, self._pools, dynamic_batch=False)
            except ExportError:
                raise error from error.__cause__
