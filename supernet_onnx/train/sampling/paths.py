"""The ways to sample that run one branch or two of a pool: a space of any size trains at the price of a network.

Branches that are not drawn do not run, hold no memory, and keep their running statistics; under
DistributedDataParallel their parameters are unused, so it needs ``find_unused_parameters=True``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.train.sampling import mixing
from supernet_onnx.train.sampling.mode import Draw, Sampling
from supernet_onnx.train.sampling.weighted import largest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from supernet_onnx.train.sampling.chance import Chance

__all__ = ["SinglePath", "TwoPath", "Uniform"]


@dataclass(frozen=True)
class SinglePath(Sampling):
    """One branch, drawn with probability ``softmax(alpha)``; the gradient goes through its own weight.

    GDAS (Dong and Yang, arXiv 1910.04465, eqs. 3 to 6): with ``theta = softmax((alpha + g) / temperature)``, g Gumbel
    noise, the branch i of largest ``alpha + g`` runs, and the output is ``(1 - sg(theta[i]) + theta[i]) * output_i``,
    which is ``output_i``. So logit k receives ``<gradient, output_i> * d theta[i] / d alpha[k]``.

    The gradient is biased: what the other branches would have given is taken for 0, so that not only differences
    between branches count but their outputs as such.
    """

    is_discrete = True
    is_tempered = False

    def draw(self, logits: Sequence[float], temperature: float, chance: Chance) -> Draw:
        """Take the branch of largest noisy logit (the Gumbel-max trick)."""
        noise = tuple(chance.gumbel(len(logits)))
        return Draw((largest([logit + g for logit, g in zip(logits, noise, strict=True)]),), 0, noise)

    def weights(self, alpha: Tensor, temperature: float, draw: Draw | None) -> Tensor:
        """Return the weight of the branch, ``(1,)``."""
        assert draw is not None
        index = draw.branches[0]
        return mixing.softmax(alpha, temperature, mixing.noise_of(draw, alpha))[index : index + 1]


@dataclass(frozen=True)
class TwoPath(Sampling):
    """One branch that counts, drawn with probability ``theta = softmax(alpha / temperature)``, and a rival.

    ProxylessNAS (Cai et al., arXiv 1812.00332, section 3.2.1): two branches are drawn by their weights without
    replacement, a binary gate takes one of them, and the gradient goes to their two logits. Both run; the running
    statistics of the rival stay as they are. With i the branch taken and j its rival,

    - i is the one drawn first, so that each branch counts with probability ``theta`` exactly;
    - logit i receives ``s * <gradient, output_i - output_j>`` and logit j minus that. The paper has the product of
      the two weights, renormalized over the pair, for s. Here ``s = (1 - theta[i]) * (1 - theta[j]) / (2 - theta[i] -
      theta[j]) / temperature``, which corrects for how often the pair is drawn; for two branches the two are equal.

    So the gradient is unbiased where the loss is linear in the pool's output. Elsewhere it is biased, as the loss
    of the rival is extrapolated from the branch taken.
    """

    is_discrete = True

    def draw(self, logits: Sequence[float], temperature: float, chance: Chance) -> Draw:
        """Take two branches without replacement, the first of which counts."""
        theta = mixing.softmax_of(logits, temperature)
        (taken,) = chance.random.choices(range(len(theta)), theta)
        if len(theta) == 1:
            return Draw((0,), 0)
        others = [i for i in range(len(theta)) if i != taken]
        rests = [theta[i] for i in others]
        rival = chance.random.choices(others, rests if sum(rests) > 0 else None)[0]
        pair = (min(taken, rival), max(taken, rival))
        return Draw(pair, pair.index(taken))

    def weights(self, alpha: Tensor, temperature: float, draw: Draw | None) -> Tensor:
        """Return the weights of the pair, whose gradient is scaled as the class says; their values are not used."""
        assert draw is not None
        if len(draw.branches) == 1:
            return mixing.softmax(alpha, temperature)
        first, second = draw.branches
        left = 1 - mixing.softmax(alpha.detach(), temperature)
        scale = left[first] * left[second] / (left[first] + left[second]).clamp_min(1e-30)
        difference = scale / temperature * (alpha[first] - alpha[second])
        return mixing.pair(difference)


@dataclass(frozen=True)
class Uniform(Sampling):
    """One branch, each equally often whatever the logits: in any n forwards from a multiple of n on, each once.

    One-shot training with the strict fairness of FairNAS (Chu et al., arXiv 1907.01845, section 3.2): an order of all
    branches is drawn for each pool, then walked through, one branch a forward, with a step of the optimizer after each.
    A pool inside of a branch runs when that branch does.

    The task gives the logits no gradient; there is nothing to be biased. ``net.cost`` does, by
    ``softmax(alpha / temperature)``. Branches are compared afterwards, by what the trained supernet loses with each.
    """

    is_discrete = True

    def draw(self, logits: Sequence[float], temperature: float, chance: Chance) -> Draw:
        """Take the next branch of the order."""
        return Draw((chance.turn(len(logits)),), 0)

    def weights(self, alpha: Tensor, temperature: float, draw: Draw | None) -> None:
        """Return None: the logits have no part in it."""
