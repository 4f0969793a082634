"""The committed type stubs are what the registry says now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from stubs import STUBS, formatted


@pytest.mark.parametrize(("path", "stub"), STUBS.items(), ids=lambda x: getattr(x, "name", ""))
def test_stubs_are_fresh(path: Path, stub: Callable[[], str]) -> None:
    assert path.read_text() == formatted(stub()), "refresh with: python tests/stubs.py --write"
