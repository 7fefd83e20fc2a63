"""Types and shapes of every tensor: onnx shape inference on a copy of the model without its weights, and where that
gives up, constant folding, loop bodies and symbolic inference.
"""

from supernet_onnx.shapes.bindings import Bindings
from supernet_onnx.shapes.filling import Values, carried, constants_in, taken_branch
from supernet_onnx.shapes.inference import Inference, contradiction, infer, infer_graph
from supernet_onnx.shapes.types import Dim, TensorType, type_of, types_in

__all__ = [
    "Bindings",
    "Dim",
    "Inference",
    "TensorType",
    "Values",
    "carried",
    "constants_in",
    "contradiction",
    "infer",
    "infer_graph",
    "taken_branch",
    "type_of",
    "types_in",
]
