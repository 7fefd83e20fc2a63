"""The gate that a model passes before it is worked on: limits, structure, external data, onnx's checker.

What comes in here may have been written to do harm. The checks are in such an order that none runs on what an earlier
one could have refused, and the walk over the model keeps a stack of its own: no file makes Python or onnx recurse
deeper than the limits say.
"""

from supernet_onnx.admission.gate import admit, load
from supernet_onnx.admission.limits import Limits

__all__ = ["Limits", "admit", "load"]
