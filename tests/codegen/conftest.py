"""Kernels of these tests are stored in a folder of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

collect_ignore_glob = ["test_*"] if os.name == "nt" else []  # formulas are interpreted there


@pytest.fixture(autouse=True, scope="session")
def kernel_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("kernels")))
        patch.delenv("TG_KERNELS", raising=False)
        yield
