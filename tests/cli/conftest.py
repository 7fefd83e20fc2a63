from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import marked

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    return marked.write(marked.flat(), tmp_path / "flat.onnx")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return marked.write(marked.build(marked.PLAIN), tmp_path / "plain.onnx")
