"""The graphs of attention and convolution, shown to NVIDIA's cuDNN frontend itself; no GPU needed.

TG_REAL_CUDNN names an interpreter that has `nvidia-cudnn-frontend` and a libcudnn, where this one
has not. A graph is described there exactly as on a GPU, and validated. Without a driver a frontend
validates one of the two families only, which one depends on its version; of the other it is shown
that the calls are accepted up to the point where the driver is asked for.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dnn_frontend
import fakecudnn
import fakecupy
import ml_dtypes
import numpy as np
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def problems() -> dict[str, Any]:
    """The problems of calls on the stand-ins, by name; some that are wrong."""
    with fakecupy.install(), fakecudnn.install():
        import cupy

        from tensorgrad.backend.cuda import dnn, dnn_graph

        for dtype in (np.float16, ml_dtypes.bfloat16):
            whole = cupy.asarray(np.zeros((2, 8, 3, 4, 64), dtype))
            q, k, v = (whole[:, :, part].transpose(0, 2, 1, 3) for part in range(3))
            for causal in (False, True):
                for K, V in ((k, v), (k[:, :2], v[:, :2])):
                    out, stats = dnn.sdpa(q, K, V, causal=causal)
                    dnn.sdpa_backward(out, q, K, V, out, stats, causal=causal)
        x, w = cupy.zeros((2, 8, 9, 9), "f2"), cupy.zeros((16, 4, 3, 3), "f2")
        how = {"groups": 2, "padding": ((1, 0), (1, 2)), "stride": (2, 1), "dilation": (1, 2)}
        for image in (x, x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), x.astype("f4")):
            weight = w.astype(image.dtype)
            y = dnn.conv(image, weight, **how)
            dnn.conv_data(y, weight, x.shape, **how)
            dnn.conv_weight(y, image, w.shape, **how)
        found = {str(k): problem for k, (_, problem) in enumerate(dnn_graph._PLANS)}
    q, k, v = found["0"].inputs
    odd = [spec._replace(shape=(*spec.shape[:3], 60)) for spec in (q, k, v)]
    out, stats = found["0"].outputs
    found["odd"] = ("sdpa", odd, (out._replace(shape=odd[0].shape), stats), found["0"].options)
    return found


@pytest.fixture(scope="module")
def said(problems: dict[str, Any]) -> dict[str, str]:
    python = os.environ.get("TG_REAL_CUDNN")
    if python is None and importlib.util.find_spec("cudnn") is None:
        pytest.skip("cuDNN's frontend is not installed (pip install nvidia-cudnn-frontend)")
    script = (
        f"import sys, json; sys.path.insert(0, {str(HERE)!r})\n"
        "import dnn_frontend; asked = json.load(sys.stdin)\n"
        "print('SAID' + json.dumps(dnn_frontend.answers(asked)))"
    )
    done = subprocess.run(
        [python or sys.executable, "-c", script],
        input=json.dumps(list(problems.values())),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(problems, json.loads(done.stdout.partition("SAID")[2])))


def test_the_graphs_are_accepted(problems: dict[str, Any], said: dict[str, str]) -> None:
    good = {name: said[name] for name in problems if name != "odd"}
    assert len(good) == 16 + 9
    assert set(good.values()) <= {"valid", "driver"}, good
    assert "valid" in good.values()


def test_a_graph_that_is_wrong_is_refused(said: dict[str, str]) -> None:
    assert said["odd"] == "driver" or "multiple of 8" in said["odd"]


def test_keywords_are_checked() -> None:
    """The check itself: a keyword that the compiled node lacks is found."""
    taken = "sdpa(self, q: tensor, attn_scale: object) -> None"
    graph = type("pygraph", (), {})
    graph.sdpa = lambda self, **given: None  # type: ignore[attr-defined]
    graph.sdpa.__doc__ = taken  # type: ignore[attr-defined]
    unknown: list[str] = []
    cudnn = SimpleNamespace(data_type=None, pygraph=graph, _compiled_module=None)
    watched = dnn_frontend.watched(cudnn, unknown)
    watched.pygraph().sdpa(q=1, attn_scale=2, right_bound=0)
    assert unknown == ["sdpa(right_bound)"]
