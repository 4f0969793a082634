#!/usr/bin/env bash
# Every figure of one GPU in one call of under nine minutes: the test suite in short, then ours
# beside PyTorch and JAX. Prints one table; JSON and logs go to $OUT, or benchmarks/results/.
# Needs nothing beyond what is installed. PYTHON=... chooses the interpreter; options are those of
# `python benchmarks/gpu.py --help`.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" benchmarks/gpu.py "$@"
