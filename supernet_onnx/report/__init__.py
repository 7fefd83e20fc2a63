"""What the verbs of the command line report: as one JSON object, and as tables and lines for a reader.

A report has two methods: ``record`` returns the JSON object, ``parts`` the tables and lines. It formats numbers that
other modules computed and prints nothing. Names that come from a file pass through ``clean`` on their way to a reader.
Importing this package loads nothing heavy.
"""

from supernet_onnx.report.form import Part, Report, Table, clean
from supernet_onnx.report.formulas import Formulas
from supernet_onnx.report.inspection import Inspection
from supernet_onnx.report.pricing import Pricing
from supernet_onnx.report.profiling import Profiling
from supernet_onnx.report.pruning import Pruning
from supernet_onnx.report.publishing import Publishing
from supernet_onnx.report.scorecard import Scorecard
from supernet_onnx.report.timing import Timings
from supernet_onnx.report.tradeoffs import Tradeoffs, draw_front
from supernet_onnx.report.verification import Verification, explain

__all__ = [
    "Formulas",
    "Inspection",
    "Part",
    "Pricing",
    "Profiling",
    "Pruning",
    "Publishing",
    "Report",
    "Scorecard",
    "Table",
    "Timings",
    "Tradeoffs",
    "Verification",
    "clean",
    "draw_front",
    "explain",
]
