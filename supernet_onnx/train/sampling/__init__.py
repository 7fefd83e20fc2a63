"""How a training step samples: which branches of a pool run, and by which weights their outputs are mixed.

``SuperNet(..., sampling="single_path")`` or ``net.sampling = TwoPath()``. One small class each:

=============== ============================ =========================== ==================================
name            object                       branches that run           gradient of the logits
=============== ============================ =========================== ==================================
``softmax``     ``Softmax(drop_below=0.0)``  all (all that matter)       exact, of the mixture
``gumbel``      ``Gumbel()``                 all                         exact, of the relaxed sample
``gumbel_hard`` ``Gumbel(hard=True)``        all; one counts             straight-through, biased
``hard``        ``Hard()``                   all; the heaviest counts    straight-through, biased
``single_path`` ``SinglePath()``             one                         through its own weight, biased
``two_path``    ``TwoPath()``                two; one counts             of the two, exact for a linear loss
``uniform``     ``Uniform()``                one, each equally often     none from the task
=============== ============================ =========================== ==================================

Straight-through: the output is that of one branch, the gradient of the logits that of the mixture.

A mode of one's own is a subclass of ``Sampling`` with two short methods.
"""

from supernet_onnx.train.sampling.chance import Chance, Draws
from supernet_onnx.train.sampling.mixing import (
    Watch,
    choose,
    drop,
    gumbel_noise,
    mix,
    noise_of,
    one_hot,
    softmax,
    straight_through,
)
from supernet_onnx.train.sampling.mode import Draw, Sampling
from supernet_onnx.train.sampling.paths import SinglePath, TwoPath, Uniform
from supernet_onnx.train.sampling.registry import from_name, from_state, to_state
from supernet_onnx.train.sampling.weighted import Gumbel, Hard, Softmax

__all__ = [
    "Chance",
    "Draw",
    "Draws",
    "Gumbel",
    "Hard",
    "Sampling",
    "SinglePath",
    "Softmax",
    "TwoPath",
    "Uniform",
    "Watch",
    "choose",
    "drop",
    "from_name",
    "from_state",
    "gumbel_noise",
    "mix",
    "noise_of",
    "one_hot",
    "softmax",
    "straight_through",
    "to_state",
]
