"""Shows graphs to NVIDIA's cuDNN frontend, in an interpreter that has it and nothing else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

PLANS = Path(__file__).parents[2] / "tensorgrad" / "backend" / "cuda" / "dnn_plan.py"
NO_DRIVER = ("cuda_get_device", "NVIDIA driver library", "libcuda")
NODES = ("sdpa", "sdpa_backward", "conv_fprop", "conv_dgrad", "conv_wgrad")


def _loaded() -> ModuleType:
    """The descriptions, apart from their package: neither CuPy nor the package is there."""
    spec = importlib.util.spec_from_file_location("dnn_plan", PLANS)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules["dnn_plan"] = found
    spec.loader.exec_module(found)
    return found


def watched(cudnn: Any, unknown: list[str]) -> Any:
    """The frontend, with a graph that notes keywords which the compiled node does not take."""
    node = getattr(cudnn._compiled_module, "backend_graph", cudnn.pygraph)

    def checked(name: str) -> Any:
        def method(graph: Any, **given: Any) -> Any:
            words = getattr(node, name).__doc__
            unknown.extend(f"{name}({key})" for key in given if f" {key}: " not in words)
            return getattr(cudnn.pygraph, name)(graph, **given)

        return method

    graph = type("Watched", (cudnn.pygraph,), {name: checked(name) for name in NODES})
    return SimpleNamespace(data_type=cudnn.data_type, pygraph=graph)


def answers(problems: list[Any]) -> list[str]:
    """What the frontend says of each problem: `valid`, `driver`, or what is wrong."""
    import cudnn

    plans, found = _loaded(), []
    for kind, inputs, outputs, options in problems:
        unknown: list[str] = []
        specs = [tuple(plans.Spec(*spec) for spec in side) for side in (inputs, outputs)]
        try:
            plans.describe(watched(cudnn, unknown), plans.Problem(kind, *specs, options))
            answer = "valid"
        except Exception as error:
            text = str(error)
            driver = any(words in text for words in NO_DRIVER)
            answer = "driver" if driver else f"{type(error).__name__}: {text[:500]}"
        found.append(f"unknown {unknown}" if unknown else answer)
    return found
