from __future__ import annotations

from pathlib import Path

import pytest
from source_writers import SOURCES, Recording, recordings


@pytest.fixture
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The source that a test names by indirect parametrisation, of the default recordings."""
    return SOURCES[request.param](tmp_path, recordings())


@pytest.fixture
def made() -> list[Recording]:
    """What the sources hold."""
    return recordings()
