"""The tuner of matrix products: what it keeps, and what a damaged file costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tensorgrad._errors import DeviceError
from tensorgrad.backend.cuda.blas import Candidate, Tuner, matmul_plan


def clock(times: dict[str, float]) -> Callable[[Callable[[], object]], float]:
    return lambda work: times[str(work())]


def test_the_tuner_keeps_the_fastest(tmp_path: Path) -> None:
    v = np.empty((4, 4), "f4")
    plan, other = matmul_plan(v, v, v), matmul_plan(v, v.T, v)
    fused = [Candidate(b"a" * 64, lambda: "a"), Candidate(b"b" * 64, lambda: "b")]
    apart = [Candidate(b"c" * 64, lambda: "c")]
    times = {"a": 3.0, "b": 2.0, "c": 1.0}
    tuner = Tuner("NVIDIA H200", 130800, clock(times), str(tmp_path))
    assert tuner.find(plan) is None
    assert tuner.tune(plan, fused, apart) == (False, b"c" * 64, 1.0)
    times["c"] = 5.0
    assert tuner.tune(other, fused, apart) == (True, b"b" * 64, 2.0)
    again = Tuner("NVIDIA H200", 130800, clock({}), str(tmp_path))
    assert again.find(plan) == (False, b"c" * 64, 1.0)
    assert again.find(other) == (True, b"b" * 64, 2.0)
    for gpu, version in (("NVIDIA H200", 130900), ("NVIDIA A100", 130800)):
        assert Tuner(gpu, version, clock({}), str(tmp_path)).find(plan) is None
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
    with pytest.raises(DeviceError, match="got no candidate"):
        tuner.tune(plan, [])


def test_a_damaged_file_only_costs_time(tmp_path: Path) -> None:
    v = np.empty((4, 4), "f4")
    plan, way = matmul_plan(v, v, v), [Candidate(b"a" * 64, lambda: "a")]
    tuner = Tuner("GPU", 1, clock({"a": 1.0}), str(tmp_path))
    tuner.tune(plan, way)
    assert tuner.path is not None
    path = Path(tuner.path)
    whole = path.read_text()
    stored = json.loads(whole)
    bad_row = {**stored, "plans": {**stored["plans"], "x": [1], "y": 3, "z": [True, "zz", 1]}}
    for text in ("", "{", "[]", "null", "\xff\xfe", whole[: len(whole) // 2], '{"gpu": "GPU"}'):
        path.write_text(text)
        assert Tuner("GPU", 1, clock({}), str(tmp_path)).find(plan) is None
    path.write_text(json.dumps(bad_row))
    assert Tuner("GPU", 1, clock({}), str(tmp_path)).find(plan) == (True, b"a" * 64, 1.0)
    path.unlink()
    (tmp_path / "file").write_text("")
    nowhere = Tuner("GPU", 1, clock({"a": 1.0}), str(tmp_path / "file" / "below"))
    assert nowhere.tune(plan, way).algo == b"a" * 64
