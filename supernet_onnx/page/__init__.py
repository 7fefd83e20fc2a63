"""The report of a supernet as one HTML page to look at: the space, its costs, the front, latency, and the search.

The page opens from a disk without a network. Python prepares the data and writes the document; what is drawn, and
what happens when something is picked, is written in the scripts in ``assets``. It takes no torch.
"""

from supernet_onnx.page.document import render
from supernet_onnx.page.history import History, history_from_log
from supernet_onnx.page.latency import Latency, Subnet, latency_from_json
from supernet_onnx.page.space import Space, View

__all__ = [
    "History",
    "Latency",
    "Space",
    "Subnet",
    "View",
    "history_from_log",
    "latency_from_json",
    "render",
]
