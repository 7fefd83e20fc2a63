"""Run models in onnxruntime: sessions, seeded inputs, and a subnet compared with its supernet.

The only package that imports onnxruntime. Commands that run nothing do not import it.
"""

from supernet_onnx.runtime.batches import Batches, find_target
from supernet_onnx.runtime.comparison import ATOL, NUM_INPUTS, RTOL, Comparison, OutputComparison, one_hot, verify
from supernet_onnx.runtime.evaluation import evaluate
from supernet_onnx.runtime.feeds import load_inputs, random_inputs
from supernet_onnx.runtime.measures import MEASURES, Measure, find_measure
from supernet_onnx.runtime.recalibration import recalibrate
from supernet_onnx.runtime.session import CPU, Array, Session, Value, check_providers, open_session

__all__ = [
    "ATOL",
    "CPU",
    "MEASURES",
    "NUM_INPUTS",
    "RTOL",
    "Array",
    "Batches",
    "Comparison",
    "Measure",
    "OutputComparison",
    "Session",
    "Value",
    "check_providers",
    "evaluate",
    "find_measure",
    "find_target",
    "load_inputs",
    "one_hot",
    "open_session",
    "random_inputs",
    "recalibrate",
    "verify",
]
