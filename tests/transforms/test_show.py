"""What `show` prints: formulas, derivatives to any order, generated text or why there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.codegen.approx import has_body
from tensorgrad.transforms.show import show

BARE = next(n for n in ("sin", "cos", "tan", "cbrt") if not has_body(n, True))


def shown(capsys: pytest.CaptureFixture[str], f: Any, **options: Any) -> str:
    show(f, **options)
    return capsys.readouterr().out


def test_formula_and_derivatives(capsys: pytest.CaptureFixture[str]) -> None:
    @tg.fuse
    def area(width: Any, height: Any, offset: Any) -> Any:
        return width * height + offset

    assert shown(capsys, area, dtype=None) == (
        "area(width, height, offset):\n"
        "  return width * height + offset\n"
        "\n"
        "area_vjp(width, height, ct0):\n"
        "  return ct0 * height, ct0 * width\n"
        "  # cotangent of width: result 0\n"
        "  # cotangent of height: result 1\n"
        "  # cotangent of offset: ct0 itself\n"
    )
    assert shown(capsys, area, dtype=None, order=0).count("return") == 1
    assert shown(capsys, area, dtype=None, order=3).count("return") == 4


def test_machine_code_begins_with_the_formula(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, tg.silu)
    assert text.startswith("silu(x):\n")
    assert "; silu(x): return x * sigmoid(x)\ndefine void @KERNEL" in text
    assert text.count("define void") == 2
    assert "<32 x float>" in text
    assert "<16 x double>" in shown(capsys, tg.silu, dtype=float)


def test_operations_reductions_and_plain_functions(capsys: pytest.CaptureFixture[str]) -> None:
    assert "erfc" in shown(capsys, tg.nn.functional.gelu, dtype=None)
    assert "tanh" in shown(capsys, lambda x: tg.nn.functional.gelu(x, "tanh"), dtype=None)
    text = shown(capsys, tg.softmax)
    assert "rsum" in text
    assert "softmax_vjp(" in text
    assert text.count("define i64") == 2
    assert shown(capsys, tg.nn.functional.softmax) == text
    assert "cotangent" not in shown(capsys, lambda x: x > 0)
    assert "# cotangent of x: zero" in shown(capsys, tg.floor)


def test_parts_and_reasons(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare: Any = getattr(np, BARE)
    text = shown(capsys, lambda x: bare(x) * np.exp(x), dtype="float64", order=0)
    assert "2 parts" in text
    assert f"; NumPy: fused_0(x): return {BARE}(x)" in text
    assert "; fused_1(x, t1): return t1 * exp(x)" in text
    text = shown(capsys, bare, dtype="float64", order=0)
    assert f"; no LLVM text: {BARE} without generated code in float64; NumPy runs it" in text
    monkeypatch.setenv("TG_KERNELS", "0")
    assert "the environment says TG_KERNELS=0" in shown(capsys, tg.silu)


def test_refusals() -> None:
    with pytest.raises(TypeError, match="show: got matmul, expected a fused function"):
        show(tg.matmul)
    with pytest.raises(ValueError, match="order=-1, expected 0 or more"):
        show(tg.silu, order=-1)


def test_many_results_stand_on_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, lambda x, y: (np.exp(x * y), *(x,) * 30), dtype=None, order=0)
    assert text.splitlines()[1:4] == ["  return (", "    exp(x * y),", "    x,"]
    assert text.splitlines()[-2:] == ["    x,", "  )"]
