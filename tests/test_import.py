"""`import tensorgrad` is light: what it loads, and what that costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAVY = (
    "scipy", "ml_dtypes", "opt_einsum", "optree", "safetensors", "rich", "click", "sklearn",
    "matplotlib", "llvmlite", "threadpoolctl", "cupy",
)  # fmt: skip
SECONDS = 0.05


def run(code: str, cache: Path) -> str:
    """A fresh process that keeps compiled modules, as an installed package has them.

    Processor time is measured, so NumPy's BLAS must not start threads that spin.
    """
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(cache), "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout


def test_no_heavy_library_is_imported(tmp_path: Path) -> None:
    loaded = run("import sys, tensorgrad; print(' '.join(sys.modules))", tmp_path).split()
    assert not [name for name in HEAVY if name in loaded]


def test_import_costs_at_most_50_ms_over_numpy(tmp_path: Path) -> None:
    code = (
        "import time, numpy, numpy.lib.array_utils; t = time.process_time(); import tensorgrad; "
        "print(time.process_time() - t)"
    )
    found = []
    while not found or (found[-1] > SECONDS and len(found) < 40):  # a busy machine takes longer
        found.append(float(run(code, tmp_path)))
    assert found[-1] <= SECONDS, found


def test_threads_may_begin_with_any_generator(tmp_path: Path) -> None:
    """Its package imports no module of its own, for which another thread may hold the lock."""
    code = "import sys, tensorgrad.codegen; print(' '.join(sys.modules))"
    loaded = run(code, tmp_path).split()
    assert not [name for name in loaded if name.startswith("tensorgrad.codegen.")]
