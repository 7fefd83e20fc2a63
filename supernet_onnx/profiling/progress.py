"""What a profile has measured so far, on disk beside its output, so that it can go on where it was stopped."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx import storage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from supernet_onnx.profiling.measuring import Samples

__all__ = ["Unfinished"]

_FORMAT = "supernet-onnx unfinished profile"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The samples of a profile that is not done.

    Attributes:
        path: Its file; None keeps nothing.
        made_with: All that the samples depend on: the model's structure, settings, machine and versions. Samples that
            were made with anything else are not read.
    """

    path: Path | None
    made_with: Mapping[str, object]

    def load(self) -> Samples:
        """Return the samples of an earlier run, none if there are none that fit."""
        if self.path is None:
            return {}
        try:
            record = json.loads(storage.read_text(self.path))
        except (OSError, ValueError, RecursionError):  # not there, or not ours
            return {}
        if not isinstance(record, dict) or record.get("format") != _FORMAT:
            return {}
        if record.get("made_with") != json.loads(json.dumps(self.made_with)):
            return {}
        samples = record.get("samples")
        return samples if isinstance(samples, dict) and all(map(_are_times, samples.values())) else {}

    def save(self, samples: Samples) -> None:
        """Write the samples, whole or not at all.

        Raises:
            OutputError: The file cannot be written.
        """
        if self.path is not None:
            record = {"format": _FORMAT, "made_with": self.made_with, "samples": samples}
            storage.write(self.path, json.dumps(record).encode())

    def remove(self) -> None:
        """Remove the file, for the profile is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _are_times(sessions: object) -> bool:
    return isinstance(sessions, list) and all(
        isinstance(session, list)
        and all(isinstance(time, float) and math.isfinite(time) and time >= 0 for time in session)
        for session in sessions
    )
