"""The fixture that the tests of the reference supernets share."""

from __future__ import annotations

import pytest

from tests.models.reference import MODELS, Reference, make


@pytest.fixture(scope="session", params=MODELS)
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Each supernet in turn; a test that changes one takes a copy."""
    return make(request.param, tmp_path_factory.mktemp(request.param))
