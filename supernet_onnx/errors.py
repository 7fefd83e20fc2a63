"""The error tree: everything that a user's file, flag or model can cause.

    SuperNetError                     exit code 2, code "error"
    ├── ModelError                    "model"             not a usable ONNX model
    │   └── MarkError                 "mark"              its marks are malformed, or there are none
    ├── SelectionError                "selection"         names a pool or branch that is not there
    ├── BudgetError                   "budget"            a budget or score that is no number, or of nothing there
    ├── CostError                     "cost"              cannot be priced
    │   ├── UnknownOperatorError      "unknown_operator"  no handler counts an operator
    │   └── UnknownShapeError         "unknown_shape"     a dim that nothing binds
    ├── ShapeError                    "shape"             a size given for an input that it cannot have
    ├── PoolError                     "pool"              branches that do not fit together
    ├── ExportError                   "export"            torch.export refuses the model
    ├── ReportError                   "report"            what a report is to show is damaged, or of another model
    ├── OutputError                   "output"            cannot be written
    ├── RunError                      "run"               onnxruntime refuses the model or its inputs
    ├── MissingPackageError           "missing_package"   an optional package is needed
    └── CheckFailedError              "check_failed"      exit code 1: a check ran, and failed
        └── InfeasibleError           "infeasible"        no selection meets all budgets and pins

Misuse of the Python API is a ``ValueError`` or ``TypeError``; our own invariants are ``assert``.
A message is one line: where, what is, what was expected, the next step.
"""

from typing import Final

__all__ = [
    "FAILURES",
    "BudgetError",
    "CheckFailedError",
    "CostError",
    "ExportError",
    "InfeasibleError",
    "MarkError",
    "MissingPackageError",
    "ModelError",
    "OutputError",
    "PoolError",
    "ReportError",
    "RunError",
    "SelectionError",
    "ShapeError",
    "SuperNetError",
    "UnknownOperatorError",
    "UnknownShapeError",
    "in_one_line",
]


FAILURES: Final = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError,
)  # fmt: skip
"""What Python code of a user may raise, where it is run to be used: a metric or a loss of one's own."""


def in_one_line(error: BaseException) -> str:
    """Write an error of somebody else's in one line, with its type."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


class SuperNetError(Exception):
    """What supernet-onnx raises for bad input; ``code`` and ``exit_code`` are what the command line reports."""

    code = "error"
    exit_code = 2


class ModelError(SuperNetError):
    """The file or message is not an ONNX model that can be worked on."""

    code = "model"


class MarkError(ModelError):
    """A pool's mark is malformed, contradicts another one, or stands where it may not."""

    code = "mark"


class SelectionError(SuperNetError):
    """A selection names a pool or a branch that is not there, or leaves one open."""

    code = "selection"


class BudgetError(SuperNetError):
    """A budget is no amount or of no metric, or scores are no numbers or those of other pools."""

    code = "budget"


class CostError(SuperNetError):
    """The graph cannot be priced."""

    code = "cost"


class UnknownOperatorError(CostError):
    """No handler counts this operator, and no rule says that it is free."""

    code = "unknown_operator"


class UnknownShapeError(CostError):
    """A shape that a cost needs has a dim that nothing binds."""

    code = "unknown_shape"


class ShapeError(SuperNetError):
    """A size or shape that the caller gives is that of no input, or contradicts what the model declares."""

    code = "shape"


class PoolError(SuperNetError):
    """The branches of a pool do not fit together, or one of them breaks a promise."""

    code = "pool"


class ExportError(SuperNetError):
    """``torch.export`` or the ONNX exporter refuses the model."""

    code = "export"


class ReportError(SuperNetError):
    """A file that a report is to show is none of its kind, damaged, or one of another model."""

    code = "report"


class OutputError(SuperNetError):
    """A file cannot be written, or would overwrite an input."""

    code = "output"


class RunError(SuperNetError):
    """onnxruntime refuses the model, or the inputs given for it."""

    code = "run"


class MissingPackageError(SuperNetError, ImportError):
    """An optional package is needed; the message says which extra installs it."""

    code = "missing_package"


class CheckFailedError(SuperNetError):
    """A check ran to its end and failed: a verification over tolerance, a budget that cannot be met."""

    code = "check_failed"
    exit_code = 1


class InfeasibleError(CheckFailedError):
    """No selection meets all budgets and pins; the message says what is reachable."""

    code = "infeasible"
