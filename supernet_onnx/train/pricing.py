"""The expected cost of a supernet as a differentiable function of its logits: dot products, from a cost table."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from supernet_onnx.cost import Decomposition
from supernet_onnx.train import sampling
from supernet_onnx.train.flat import FlatCost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supernet_onnx.cost import CostTable
    from supernet_onnx.diagram import Diagram
    from supernet_onnx.train.flat import Weighing
    from supernet_onnx.train.pool import SuperNetModule

__all__ = ["ExpectedCost"]


class ExpectedCost:
    """``E[cost] = trunk + sum_{p,i} theta[p,i] * cost[p,i] + sum_c P(c) * cost[c]``.

    This is for a metric that adds up. For one of which the largest part counts (peak memory), it is the largest such
    sum of all parts, as in ``CostTable.expected``: a lower bound, whose gradient is that of the largest part.

    The last sum is over conditions on several pools (nested or shared parts); the probability of each is that of
    independent pools, worked out from the leaves of its diagram up, for all conditions at once. ``theta`` is

    - ``softmax(alpha / temperature)``;
    - ``softmax(alpha)`` for a pool that samples with Gumbel noise: the probability that a branch is drawn, which no
      temperature changes (the Gumbel-max trick; ``Sampling.is_tempered``);
    - for a hard pool 1 at the largest, with the gradient of the above (straight-through; ``Sampling.prices_choice``).

    Flat pools whose logits are plain parameters on the CPU take the closed form of ``FlatCost``, to the same value.

    It is worked out in float64, where integers up to 2^53 are exact; in float32 on a device that has no float64 (MPS).

    Args:
        table: The numbers.
        pools: The modules by pool name; all of the table's pools must be there.
        trunk: Whether to count what no selection can remove.
    """

    def __init__(self, table: CostTable, pools: Mapping[str, SuperNetModule], *, trunk: bool) -> None:
        parts = table.addends(trunk=trunk) or (Decomposition(0, {}, {}),)
        self._pools = [pools[pool.name] for pool in table.pools]
        sizes = [len(pool) for pool in self._pools]
        width = max(sizes, default=0)
        costs = torch.zeros((len(parts), len(sizes), width), dtype=torch.float64)
        for row, part in enumerate(parts):
            for column, amounts in enumerate(part.branches.values()):
                costs[row, column, : len(amounts)] = torch.tensor(amounts, dtype=torch.float64)
        self._costs = costs.view(len(parts), -1)
        self._trunks = torch.tensor([float(part.trunk) for part in parts], dtype=torch.float64)
        self._gather = _padding(sizes, width)
        self._never = torch.full((1,), -torch.inf)
        self._ones = [1.0] * len(self._pools)
        self._levels, self._joint = _plan([part.joint for part in parts])
        self._flat: FlatCost | None = None
        if len(parts) == 1 and not self._levels and sizes:
            self._flat = FlatCost(parts[0].branches.values(), parts[0].trunk)

    def __call__(self) -> Tensor:
        """Return the expected cost now, a scalar on the logits' device."""
        if not self._pools:
            return self._trunks.max()
        weighings = self._weighings()
        if self._flat is not None:
            plain = [pool._parameters.get("alpha") for pool in self._pools]  # pool.alpha takes ten times as long
            if self._flat.fits(plain):
                return self._flat(cast("list[Tensor]", plain), weighings, self._formula)
        return self._formula([pool.logits for pool in self._pools], weighings)

    def _weighings(self) -> list[Weighing]:
        """Return how the logits of each pool become weights now."""
        return [
            (1.0 / pool.temperature if pool.sampling.is_tempered else 1.0, pool.sampling.prices_choice)
            for pool in self._pools
        ]

    def _formula(self, alphas: Sequence[Tensor], weighings: Sequence[Weighing]) -> Tensor:
        """Return the expected cost for these logits as a graph of torch's operations."""
        self._move(alphas[0].device)
        theta = self._theta(alphas, weighings)
        costs = torch.addmv(self._trunks, self._costs, theta.view(-1))
        if self._levels:
            costs = self._add_joint(costs, theta)
        return costs.max()

    def _theta(self, alphas: Sequence[Tensor], weighings: Sequence[Weighing]) -> Tensor:
        """Return the weights of all pools, ``(pools, widest pool)``, 0 where a pool has fewer branches."""
        if self._gather is None:
            logits = torch.stack(list(alphas)).to(self._costs.dtype)
        else:
            logits = torch.cat([*alphas, self._never]).to(self._costs.dtype)[self._gather]
        scales = [scale for scale, _ in weighings]
        if scales != self._ones:
            logits = logits * torch.tensor(scales, dtype=logits.dtype, device=logits.device)[:, None]
        # torch.softmax starts threads even for this little, which takes milliseconds on a machine that is busy
        exponentials = (logits - logits.detach().amax(-1, keepdim=True)).exp()
        theta = exponentials / exponentials.sum(-1, keepdim=True)
        hard = [is_hard for _, is_hard in weighings]
        if True in hard:
            mask = torch.tensor(hard, device=theta.device)[:, None]
            theta = torch.where(mask, sampling.straight_through(theta), theta)
        return theta

    def _add_joint(self, costs: Tensor, theta: Tensor) -> Tensor:
        """Add amount times probability of the conditions on several pools, deepest level first."""
        values = theta.new_tensor([0.0, 1.0])
        for level, children in self._levels:
            values = torch.cat([values, values[children] @ theta[level, : children.shape[1]]])
        rows, index, amounts = self._joint
        return costs.index_add(0, rows, values[index] * amounts)

    def _move(self, device: torch.device) -> None:
        if self._costs.device == device:
            return
        with torch.inference_mode(False):  # what is kept must serve in training too
            dtype = torch.float32 if device.type == "mps" else torch.float64
            self._costs = self._costs.to(device, dtype)
            self._trunks = self._trunks.to(device, dtype)
            self._gather = None if self._gather is None else self._gather.to(device)
            self._never = self._never.to(device)
            self._levels = [(level, children.to(device)) for level, children in self._levels]
            rows, index, amounts = self._joint
            self._joint = rows.to(device), index.to(device), amounts.to(device, dtype)


def _padding(sizes: Sequence[int], width: int) -> Tensor | None:
    """Return the index that spreads concatenated logits over rows of equal width; None if they have it already."""
    if all(size == width for size in sizes):
        return None
    index = torch.full((len(sizes), width), sum(sizes))
    start = 0
    for row, size in enumerate(sizes):
        index[row, :size] = torch.arange(start, start + size)
        start += size
    return index


def _plan(
    parts: Sequence[Mapping[Diagram, float]],
) -> tuple[list[tuple[int, Tensor]], tuple[Tensor, Tensor, Tensor]]:
    """Lay out the diagrams of all joint conditions level by level, each node once.

    Returns:
        For each level with nodes, deepest first, ``(level, children)`` with ``children[k, i]`` the place of the
        i-th child of its k-th node; then for each amount its part, the place of its condition, and itself. Places 0
        and 1 are the leaves.
    """
    terms = [(row, condition, amount) for row, joint in enumerate(parts) for condition, amount in joint.items()]
    nodes = {node.uid: node for condition in {condition for _, condition, _ in terms} for node in condition.nodes()}
    places = {node.uid: int(node.value) for node in nodes.values() if node.is_leaf}
    by_level: dict[int, list[Diagram]] = {}
    for node in nodes.values():
        if not node.is_leaf:
            by_level.setdefault(node.level, []).append(node)
    levels: list[tuple[int, Tensor]] = []
    end = 2
    for level in sorted(by_level, reverse=True):
        here = by_level[level]
        levels.append((level, torch.tensor([[places[child.uid] for child in node.children] for node in here])))
        for node in here:
            places[node.uid] = end
            end += 1
    rows = torch.tensor([row for row, _, _ in terms], dtype=torch.long)
    index = torch.tensor([places[condition.uid] for _, condition, _ in terms], dtype=torch.long)
    return levels, (rows, index, torch.tensor([float(amount) for _, _, amount in terms], dtype=torch.float64))
