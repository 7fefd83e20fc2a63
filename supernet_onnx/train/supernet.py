"""``SuperNet``: wraps a model with pools, prices it, and exports it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor, nn

from supernet_onnx.cost import measure, params
from supernet_onnx.errors import ExportError, PoolError, SelectionError
from supernet_onnx.search import choose
from supernet_onnx.selection import Selection, resolve
from supernet_onnx.supergraph import read
from supernet_onnx.train import export
from supernet_onnx.train.distributed import anchor, is_distributed
from supernet_onnx.train.drawing import draw
from supernet_onnx.train.example import make_example
from supernet_onnx.train.extract import extract
from supernet_onnx.train.pool import SuperNetModule, pools_of
from supernet_onnx.train.pricing import ExpectedCost
from supernet_onnx.train.ranking import log_weights, stored_scores
from supernet_onnx.train.sampling import Draws, Sampling, from_name

if TYPE_CHECKING:
    from supernet_onnx.cost import CostTable, Metric
    from supernet_onnx.search import Choice, Scores
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["PoolSummary", "SuperNet"]


class PoolSummary(TypedDict):
    """A pool in ``SuperNet.summary()``.

    Attributes:
        weights: The weight of each branch, by name.
        selected: The branch of largest logit.
    """

    weights: dict[str, float]
    selected: str


class SuperNet(nn.Module):
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
        self._tables: dict[str | None, CostTable] = {}
        self._costs: dict[str | None, ExpectedCost] = {}
        self.cost_specification = cost

    def forward(self, *args: object, **kwargs: object) -> object:
        """Run the model on the arguments; pools that sample draw anew."""
        drawing = any(pool.training and pool.sampling.draws for pool in self._pools.values())
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

    @property
    def supergraph(self) -> SuperGraph:
        """The marked ONNX graph on which everything is priced; its large weights are left out."""
        return self._supergraph

    @property
    def cost_specification(self) -> Metric | Mapping[str, Metric]:
        """What is counted: a metric, or several by name. Setting it prices the supernet anew."""
        return self._cost_specification

    @cost_specification.setter
    def cost_specification(self, specification: Metric | Mapping[str, Metric]) -> None:
        named: dict[str | None, Metric] = {None: specification} if not isinstance(specification, Mapping) else {}
        if isinstance(specification, Mapping):
            named.update(specification.items())
        if not named or not all(hasattr(metric, "bill") for metric in named.values()):
            raise TypeError(
                "cost must be a metric, such as supernet_onnx.cost.params, or a mapping of names to metrics, "
                f"not {specification!r}"
            )
        measured = measure(self._supergraph, {id(metric): metric for metric in named.values()}.values())
        self._cost_specification = specification
        self._tables = {name: measured[metric.name] for name, metric in named.items()}
        self._build_costs()

    @property
    def full_cost(self) -> bool:
        """Whether the costs count what no selection can remove; it can be set at any time."""
        return self._full_cost

    @full_cost.setter
    def full_cost(self, value: bool) -> None:
        self._full_cost = value
        self._build_costs()

    def _build_costs(self) -> None:
        self._ranges: dict[str | None, tuple[float, float]] = {}
        with torch.inference_mode(False):  # what is kept must serve in training too
            self._costs = {
                name: ExpectedCost(table, self._pools, trunk=self._full_cost) for name, table in self._tables.items()
            }

    @property
    def cost(self) -> Tensor:
        """The expected cost of one sample now, a scalar that is differentiable in the logits.

        Raises:
            ValueError: There are several costs; ``get_cost(name)`` returns one of them.
        """
        return self.get_cost()

    def get_cost(self, name: str | None = None) -> Tensor:
        """Return the expected cost of that name, a scalar that is differentiable in the logits.

        Raises:
            ValueError: There is no such cost, or several and no name.
        """
        self._check_cost(name)
        return self._costs[name]()

    def _check_cost(self, name: str | None) -> None:
        if name not in self._costs:
            known = ", ".join(repr(key) for key in self._costs if key is not None)
            raise ValueError(
                f"there are several costs, get one by its name: net.get_cost(name), name one of {known}"
                if name is None
                else f"there is no cost {name!r}; "
                + (f"the costs are {known}" if known else "the only one is net.cost")
            )

    def cost_range(self, name: str | None = None) -> tuple[float, float]:
        """Return the smallest and the largest cost of any selection, exactly; the trunk counts if ``full_cost``.

        Raises:
            ValueError: There is no such cost, or several and no name.
        """
        if name not in self._ranges:
            table = self._counted(name)
            self._ranges[name] = float(table.minimum()), float(table.maximum())
        return self._ranges[name]

    def selected_cost(self, name: str | None = None) -> float:
        """Return what the branches of largest logit cost; the trunk counts if ``full_cost``.

        Raises:
            ValueError: There is no such cost, or several and no name.
        """
        return float(self._counted(name).total(resolve(self._supergraph, self.selection())))

    @property
    def cost_names(self) -> tuple[str | None, ...]:
        """The names of the costs; None is that of a single one."""
        return tuple(self._tables)

    def get_total_icv(self, eps: float = 1e-3) -> Tensor:
        """Return the total inverse coefficient of variation of the weights, differentiable in the logits.

        ``sum over pools of mean(theta)^2 / (var(theta) + eps)`` with the unbiased variance; the variance of a pool of
        one branch is 0. Small when every pool is decided.
        """
        total = torch.zeros((), device=next(self.nas_parameters()).device)
        for pool in self._pools.values():
            theta = pool.theta()
            variance = theta.var() if len(pool) > 1 else torch.zeros_like(theta[0])
            total = total + theta.mean() ** 2 / (variance + eps)
        return total

    def selection(self) -> dict[str, str]:
        """Return the branch of largest logit for each pool: ``{pool name: branch name}``."""
        return {name: pool.branch_names[pool.selected()] for name, pool in self._pools.items()}

    def summary(self) -> dict[str, PoolSummary]:
        """Return for each pool its weights by branch name, and the selected branch."""
        return {
            name: {
                "weights": dict(zip(pool.branch_names, pool.theta().detach().cpu().tolist(), strict=True)),
                "selected": pool.branch_names[pool.selected()],
            }
            for name, pool in self._pools.items()
        }

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

    def named_nas_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
        """Iterate over the logits of all pools and their qualified names, each once."""
        logits = {id(pool.alpha) for pool in self._pools.values()}
        for name, parameter in self.named_parameters(prefix, recurse):
            if id(parameter) in logits:
                yield name, parameter

    def nas_parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Iterate over the logits of all pools, each once."""
        return (parameter for _, parameter in self.named_nas_parameters(recurse=recurse))

    def named_net_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
        """Iterate over all parameters but the logits and their qualified names, each once."""
        logits = {id(pool.alpha) for pool in self._pools.values()}
        for name, parameter in self.named_parameters(prefix, recurse):
            if id(parameter) not in logits:
                yield name, parameter

    def net_parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Iterate over all parameters but the logits, each once."""
        return (parameter for _, parameter in self.named_net_parameters(recurse=recurse))

    @property
    def train_selection(self) -> bool:
        """Whether the logits of all pools are trained."""
        return all(parameter.requires_grad for parameter in self.nas_parameters())

    @train_selection.setter
    def train_selection(self, value: bool) -> None:
        for parameter in self.nas_parameters():
            parameter.requires_grad_(value)

    def train_nas_only(self) -> None:
        """Train the logits and nothing else, until another ``train_*`` call."""
        self.train_selection = True
        for name, parameter in self.named_net_parameters():
            if parameter.requires_grad:
                self._frozen.add(name)
                parameter.requires_grad_(False)

    def train_net_only(self) -> None:
        """Train everything but the logits; parameters that the user froze stay frozen."""
        self.train_selection = False
        self._thaw()

    def train_net_and_nas(self) -> None:
        """Train everything, all logits included; other parameters that the user froze stay frozen."""
        self.train_selection = True
        self._thaw()

    @property
    def pools(self) -> Mapping[str, SuperNetModule]:
        """The pools by their qualified names."""
        return self._pools

    def choose(
        self,
        budgets: Mapping[str, float | str],
        scores: Scores | None = None,
        pins: Mapping[str, str | int] | None = None,
    ) -> Choice:
        """Choose the branches of the best scores among all selections that meet the budgets, exactly.

        ``net.export(choice.selection)`` is the network. The supernet is not changed.

        Args:
            budgets: For each metric, by its own name (``"params"``), the most that one sample may cost with all that
                no selection can remove: a number, or a text such as ``"50k"`` or ``"60%"`` of the largest subnet. The
                metric need not be one of the net's costs.
            scores: For each pool the score of each branch, higher is better. If left out, those that ``train.score``
                stored in the pools; if there are none, the logs of the weights.
            pins: Branches that must be taken, by name or index, for some pools.

        Returns:
            The selection, its objective, what it costs of each budget, and the proof (``supernet_onnx.search``).

        Raises:
            InfeasibleError: No selection meets the budgets and pins; the message says what is reachable.
            BudgetError: A budget is no amount or of no metric, or scores are not finite or of other pools.
            SelectionError: A pin names a pool or branch that is not there.
            CostError: A metric cannot price the supernet.
        """
        own = self.cost_specification
        metrics = list(own.values()) if isinstance(own, Mapping) else [own]
        stored = stored_scores(self._pools)
        found = choose(
            self._supergraph,
            budgets=budgets,
            scores=scores or stored or log_weights(self._pools),
            pins=pins,
            metrics=metrics,
        )
        source = found.source if scores else "the stored scores" if stored else "the logs of the weights"
        return replace(found, source=source)

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

    def _counted(self, name: str | None) -> CostTable:
        """Return the table behind ``get_cost(name)``."""
        self._check_cost(name)
        return self._tables[name] if self._full_cost else self._tables[name].without_trunk()

    def _trace_for_pricing(self) -> torch.export.ExportedProgram:
        """Trace with an open batch size; with the example's own if the model fixes it."""
        try:
            return export.trace(self.model, self._example, self._pools, dynamic_batch=True)
        except ExportError as error:
            try:
                return export.trace(self.model, self._example, self._pools, dynamic_batch=False)
            except ExportError:
                raise error from error.__cause__

    def _choices(self, selection: Mapping[str, str | int] | Selection) -> dict[SuperNetModule, int]:
        """Return the branch of each pool: that of a selection, else the one of largest logit."""
        return {pool: pool.selected() for pool in self._pools.values()} | self._find(selection)

    def _find(self, selection: Mapping[str, str | int] | Selection) -> dict[SuperNetModule, int]:
        """Return the branches of the pools that a selection names; a pool need not be in the graph."""
        named = selection.as_dict() if isinstance(selection, Selection) else selection
        for name in named:
            if name not in self._pools:
                raise SelectionError(f"pool '{name}' is not in the model; its pools are: {', '.join(self._pools)}")
        return {self._pools[name]: self._pools[name].find(branch) for name, branch in named.items()}

    def _thaw(self) -> None:
        for name, parameter in self.named_net_parameters():
            if name in self._frozen:
                parameter.requires_grad_(True)
        self._frozen.clear()
