"""The ways to sample that run every branch: softmax, Gumbel-softmax, and the heaviest branch straight-through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.train.sampling import mixing
from supernet_onnx.train.sampling.mode import Draw, Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from supernet_onnx.train.sampling.chance import Chance

__all__ = ["Gumbel", "Hard", "Softmax", "largest"]


@dataclass(frozen=True)
class Softmax(Sampling):
    """The mixture by ``theta = softmax(alpha / temperature)``: DARTS (Liu et al., arXiv 1806.09055, eq. 2).

    Every branch runs, and the gradient is the exact one of the loss of the mixture.

    With ``drop_below`` a branch whose weight is smaller than that does not run, and the others' weights are those of
    the softmax over them alone; the heaviest always runs. Its logit then has no gradient from the task, only what
    ``net.cost`` gives, which counts its weight as ever. Every ``probe_every`` forwards all branches run, so that one
    that was dropped too early can return. In ``eval`` all are mixed.

    Args:
        drop_below: The weight from which on a branch runs; 0 runs all.
        probe_every: Forwards from one in which all branches run to the next.
    """

    drop_below: float = 0.0
    probe_every: int = 50

    def __post_init__(self) -> None:
        if not 0 <= self.drop_below < 1:
            raise ValueError(f"drop_below is a weight, from 0 to below 1, not {self.drop_below}")
        if self.probe_every < 1:
            raise ValueError(f"probe_every must be 1 or more forwards, not {self.probe_every}")

    @property
    def draws(self) -> bool:  # type: ignore[override]  # a constant of the other classes
        """Whether branches may be dropped."""
        return self.drop_below > 0

    @property
    def chooses(self) -> bool:  # type: ignore[override]  # a constant of the other classes
        """Whether branches may be dropped."""
        return self.drop_below > 0

    def draw(self, logits: Sequence[float], temperature: float, chance: Chance) -> Draw:
        """Take all branches in a probe, else those that weigh enough."""
        everything = tuple(range(len(logits)))
        if chance.step % self.probe_every == 0:
            return Draw(everything)
        theta = mixing.softmax_of(logits, temperature)
        heaviest = largest(theta)
        return Draw(tuple(i for i in everything if theta[i] >= self.drop_below or i == heaviest))

    def weights(self, alpha: Tensor, temperature: float, draw: Draw | None) -> Tensor:
        """Return the softmax over the branches that run."""
        if draw is not None and len(draw.branches) < len(alpha):
            alpha = alpha[list(draw.branches)]
        return mixing.softmax(alpha, temperature)


@dataclass(frozen=True)
class Gumbel(Sampling):
    """The mixture by ``softmax((alpha + g) / temperature)``, g Gumbel noise drawn anew for each forward.

    A sample of the Concrete distribution (Jang et al., arXiv 1611.01144, eq. 2; Maddison et al., arXiv 1611.00712,
    eq. 2). Every branch runs. The gradient is the exact one of the relaxed sample; towards temperature 0 samples
    become one-hot, branch i with probability ``softmax(alpha)[i]``, and the gradient's variance grows.

    With ``hard=True`` the output is that of the largest of ``alpha + g`` alone, with the gradient of the relaxed
    sample (straight-through Gumbel-softmax, Jang et al., section 2.2), which is biased. The other branches run for
    their outputs, which the gradient needs; their running statistics stay as they are.
    """

    hard: bool = False

    is_tempered = False

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]  # a constant of the other classes
        """Whether single branches count."""
        return self.hard

    @property
    def chooses(self) -> bool:  # type: ignore[override]  # a constant of the other classes
        """Whether single branches count."""
        return self.hard

    @property
    def prices_choice(self) -> bool:  # type: ignore[override]  # a constant of the other classes
        """Whether the cost is that of the heaviest branch."""
        return self.hard

    def draw(self, logits: Sequence[float], temperature: float, chance: Chance) -> Draw:
        """Take all branches and noise; if hard, the output of the largest noisy logit."""
        noise = tuple(chance.gumbel(len(logits)))
        taken = largest([logit + g for logit, g in zip(logits, noise, strict=True)]) if self.hard else None
        return Draw(tuple(range(len(logits))), taken, noise)

    def weights(self, alpha: Tensor, temperature: float, draw: Draw | None) -> Tensor:
        """Return the relaxed sample."""
        return mixing.softmax(alpha, temperature, mixing.noise_of(draw, alpha))

    def draw_alone(self, alpha: Tensor, temperature: float) -> Draw:
        """Draw from torch's global generator, if soft on the logits' device, where torch.compile can follow."""
        if self.hard:
            return super().draw_alone(alpha, temperature)
        return Draw(tuple(range(len(alpha))), None, mixing.gumbel_noise(alpha))


@dataclass(frozen=True)
class Hard(Sampling):
    """The branch of largest logit alone, with the gradient that the mixture has there (straight-through).

    Bengio et al. (arXiv 1308.3432); logit k receives ``sum_i <gradient, output_i> * d theta[i] / d alpha[k]``. This
    is biased: it takes the loss for linear between the branch taken and the others. All branches run, for their
    outputs are in the gradient; the running statistics of those that are not taken stay as they are.
    """

    is_discrete = True
    prices_choice = True

    def draw(self, logits: Sequence[float], temperature: float, chance: Chance) -> Draw:
        """Take the output of the largest logit."""
        return Draw(tuple(range(len(logits))), largest(logits))

    def weights(self, alpha: Tensor, temperature: float, draw: Draw | None) -> Tensor:
        """Return ``softmax(alpha / temperature)``."""
        return mixing.softmax(alpha, temperature)


def largest(values: Sequence[float]) -> int:
    """Return the place of the largest value, the first of equals."""
    return max(range(len(values)), key=values.__getitem__)
