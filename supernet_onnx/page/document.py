"""The page as one HTML document that needs nothing else: template, style, scripts, data and plotly.js.

Data stand in a JSON block in which no ``<`` is left, so that no name can end it, and the scripts put them into the
page as text, never as markup. As a second belt, the page's Content-Security-Policy lets only these very scripts run,
known by their hashes, and lets nothing be fetched.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
from importlib import resources
from typing import TYPE_CHECKING, Final

from supernet_onnx import __version__
from supernet_onnx.errors import MissingPackageError
from supernet_onnx.report import clean

if TYPE_CHECKING:
    from supernet_onnx.page.history import History
    from supernet_onnx.page.latency import Latency
    from supernet_onnx.page.space import Space
    from supernet_onnx.report.form import Json
    from supernet_onnx.search import Front

__all__ = ["render"]

SCRIPTS: Final = (
    "text.js", "state.js", "charts.js", "selection.js", "front.js", "pools.js", "operators.js", "latency.js",
    "training.js", "main.js",
)  # fmt: skip
"""In the order in which they run."""


def render(
    space: Space, *, front: Front | None = None, latency: Latency | None = None, history: History | None = None
) -> bytes:
    """Return the page, UTF-8. Equal content gives equal bytes.

    Args:
        space: The supergraph; its views are the selection that is shown first, then those of the front's points.
        front: What there is to pick from.
        latency: What a latency table predicts, and what was measured.
        history: The search that the supergraph came from.

    Raises:
        MissingPackageError: plotly is not installed.
    """
    assert len(space.views) == 1 + (len(front.points) if front else 0)
    content = {
        "version": __version__,
        **space.record(),
        "front": front and _front(front),
        "latency": latency and latency.record(),
        "history": history and history.record(),
    }
    plotly = _plotly()
    script = '"use strict";\n' + "".join(_asset(name) for name in SCRIPTS)
    parts = {
        "policy": _policy(script, plotly),
        "style": _asset("page.css"),
        "data": _as_json(content),
        "plotly": base64.b64encode(gzip.compress(plotly.encode(), 9, mtime=0)).decode(),
        "script": script,
    }
    before, *rest = _asset("page.html").split("{{")
    pieces = (piece.split("}}", 1) for piece in rest)
    return (before + "".join(parts[name] + text for name, text in pieces)).encode()


def _front(front: Front) -> Json:
    """Return what the page shows of a front, names made safe to be shown."""
    axes = [{"name": clean(by.name), "unit": clean(by.unit), "goal": by.goal} for by in front.metrics]
    values = [[point.values[by.name] for by in front.metrics] for point in front.points]
    return {"axes": axes, "values": values, "complete": front.complete, "note": clean(front.note)}


def _policy(*scripts: str) -> str:
    """Return what the page may do: run these scripts, and be styled by itself and by plotly.js."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _as_json(content: object) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (resources.files("supernet_onnx.page") / "assets" / name).read_text(encoding="utf-8")


@functools.cache
def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingPackageError(
            "the charts of a report need plotly; install it with: pip install 'supernet-onnx[report]'"
        ) from error
    return str(get_plotlyjs())
