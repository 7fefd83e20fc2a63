"""``Sampling``: what every way to sample has, those of a user too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.train.sampling.chance import Chance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["Draw", "Sampling"]


@dataclass(frozen=True, slots=True)
class Draw:
    """What one forward takes from a pool.

    Attributes:
        branches: The indices of the branches that run, ascending, each once; the others do not run.
        taken: The place in ``branches`` of the one whose output is the pool's, with a straight-through gradient to
            the weights; None for the mixture of all that run.
        noise: What the weights add to the logits, one for each branch of the pool, run or not; None for nothing.

    Raises:
        ValueError: No branch runs, they are not ascending, or ``taken`` is no place among them.
    """

    branches: tuple[int, ...]
    taken: int | None = None
    noise: tuple[float, ...] | Tensor | None = None

    def __post_init__(self) -> None:
        ascending = all(one < next_one for one, next_one in zip((-1, *self.branches), self.branches, strict=False))
        if not self.branches or not ascending:
            raise ValueError(
                f"a draw is of at least one branch, by ascending indices from 0, each once, not {self.branches}"
            )
        if self.taken is not None and not 0 <= self.taken < len(self.branches):
            raise ValueError(
                f"taken is the place of a branch in {self.branches}, from 0 to {len(self.branches) - 1}, "
                f"not {self.taken}"
            )


class Sampling(ABC):
    """A way to sample: which branches of a pool a training step runs, and the weights that mix them.

    Objects have no state of their own: what a forward draws is a function of the logits and of ``Chance``, so one
    object serves every pool, and a resumed search draws on as if it had not stopped. A subclass that is a frozen
    dataclass is saved with its fields in the ``state_dict``; on loading, a class that is not of this package must be
    in its place already (``net.sampling = Mine()``, then ``load_state_dict``).

    Example, which mixes a branch drawn by its weight with the heaviest one::

        @dataclass(frozen=True)
        class TwoBest(Sampling):
            is_discrete = True

            def draw(self, logits, temperature, chance):
                best = max(range(len(logits)), key=logits.__getitem__)
                return Draw(tuple(sorted({best, chance.random.randrange(len(logits))})))

            def weights(self, alpha, temperature, draw):
                return torch.softmax(alpha[list(draw.branches)] / temperature, 0)

    Attributes:
        is_discrete: In ``eval`` and in the exported file a pool is its branch of largest logit alone, instead of the
            mixture by ``softmax(alpha / temperature)``.
        is_tempered: ``net.cost`` takes the expectation under ``softmax(alpha / temperature)``, instead of
            ``softmax(alpha)``, which is how often the Gumbel trick draws each branch whatever the temperature.
        prices_choice: ``net.cost`` is that of the branch of largest logit, with a straight-through gradient,
            instead of an expectation.
        draws: Whether ``draw`` is called at all; if not, every branch runs and the outputs are mixed.
        chooses: Whether a draw may leave out branches or take one. ``torch.compile`` leaves the choice to the host
            then, and compiles each branch apart; else the model is one graph.
    """

    is_discrete: bool = False
    is_tempered: bool = True
    prices_choice: bool = False
    draws: bool = True
    chooses: bool = True

    @abstractmethod
    def draw(self, logits: Sequence[float], temperature: float, chance: Chance) -> Draw:
        """Say what a training forward takes from a pool; called once for each, however often the pool is used.

        Args:
            logits: ``alpha`` of the pool now.
            temperature: Of the pool.
            chance: The random numbers to use; no others, or processes and resumed searches will differ.
        """

    @abstractmethod
    def weights(self, alpha: Tensor, temperature: float, draw: Draw | None) -> Tensor | None:
        """Return the weights of the branches that run, ``(len(draw.branches),)``, differentiable in the logits.

        None gives the logits no gradient; the draw must then take one branch. Called for each use of the pool, and
        again where activations are recomputed, so nothing may be drawn here.

        Args:
            alpha: The logits of all branches, ``(n,)``.
            temperature: Of the pool.
            draw: What ``draw`` returned; None if ``draws`` is False.
        """

    def draw_alone(self, alpha: Tensor, temperature: float) -> Draw:
        """Draw for a pool that is called outside of its supernet, from torch's global generator."""
        return self.draw(alpha.tolist(), temperature, Chance.from_torch())
