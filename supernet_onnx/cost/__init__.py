"""Costs, counted on the ONNX graph: parameters, multiply-accumulates, bytes, and metrics of your own.

``measure`` gives a ``CostTable`` for each metric; a ``CostSpec`` is a metric that counts operator by operator.
"""

from supernet_onnx.cost import contrib as _contrib  # noqa: F401  registers its operators
from supernet_onnx.cost.finding import Metrics
from supernet_onnx.cost.hardware import (
    AssumedBits,
    HardwareModel,
    diana_latency,
    gap8_latency,
    mpic_energy,
    mpic_latency,
    ne16_latency,
)
from supernet_onnx.cost.measured import MeasuredCost, latency
from supernet_onnx.cost.memory import peak_memory, traffic
from supernet_onnx.cost.opcall import AttrValue, Body, OpCall, Operand
from supernet_onnx.cost.operators import macs, ops, ops_no_bias
from supernet_onnx.cost.peaks import Part, PeakTable
from supernet_onnx.cost.pricing import (
    METRICS,
    Given,
    NodeCost,
    OperatorCost,
    by_node,
    by_operator,
    by_operators,
    measure,
)
from supernet_onnx.cost.spec import CostSpec, Metric
from supernet_onnx.cost.symbolic import Formula, symbolic
from supernet_onnx.cost.table import CostTable, Decomposition, SumTable
from supernet_onnx.cost.weights import params, params_no_bias, size

__all__ = [
    "METRICS",
    "AssumedBits",
    "AttrValue",
    "Body",
    "CostSpec",
    "CostTable",
    "Decomposition",
    "Formula",
    "Given",
    "HardwareModel",
    "MeasuredCost",
    "Metric",
    "Metrics",
    "NodeCost",
    "OpCall",
    "Operand",
    "OperatorCost",
    "Part",
    "PeakTable",
    "SumTable",
    "by_node",
    "by_operator",
    "by_operators",
    "diana_latency",
    "gap8_latency",
    "latency",
    "macs",
    "measure",
    "mpic_energy",
    "mpic_latency",
    "ne16_latency",
    "ops",
    "ops_no_bias",
    "params",
    "params_no_bias",
    "peak_memory",
    "size",
    "symbolic",
    "traffic",
]
