"""Norms and cross entropy on the CUDA backend: the kernels written by hand, and when they run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, here, launches, there

import tensorgrad as tg
from tensorgrad import dtypes

EPS = {"float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}
SHAPES = [((1,), 1), ((3, 5), 1), ((2, 1, 7), 2), ((2, 3, 4), 2), ((5, 1030), 1), ((40, 33), 1)]


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


def ran(call: Any) -> tuple[Any, dict[str, int]]:
    """What a call gives, and how often it launched which kernel."""
    before = dict(launches())
    value = call()
    counts = {k: n - before.get(k, 0) for k, n in launches().items()}
    return value, {k: n for k, n in counts.items() if n}


def count(counts: dict[str, int], prefix: str) -> int:
    return sum(n for name, n in counts.items() if name.startswith(prefix))


def rounded(values: Any, dtype: str) -> Any:
    return None if values is None else values.astype(dtypes.dtype(dtype))


# -- layer and RMS norm ------------------------------------------------------------------------


def normed(name: str, device: str, arrays: list[Any], needs: list[bool], size: Any) -> list[Any]:
    """y and the gradients asked for, of (cotangent, x, weight[, bias]), some of them None."""
    ct, *values = [None if a is None else tg.tensor(a, device=device) for a in arrays]
    for value, need in zip(values, needs):
        if value is not None:
            value.requires_grad = need
    y = getattr(tg, name)(values[0], size, *values[1:], eps=0.03)
    y.backward(ct)
    return [here(v) for v in (y, *(v.grad for v in values if v is not None)) if v is not None]


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize(("shape", "axes"), SHAPES)
def test_norm(
    name: str, dtype: str, shape: Any, axes: int, gpu: Any, rng: np.random.Generator
) -> None:
    size, affine = shape[-axes:], 2 if name == "layer_norm" else 1
    arrays = [rng.standard_normal(s) for s in (shape, shape, *[size] * affine)]
    arrays[2:] = [None if rng.random() < 0.3 else a for a in arrays[2:]]
    arrays = [rounded(a, dtype) for a in arrays]
    if rng.integers(2):
        arrays[1] = np.asfortranarray(arrays[1])
    needs = [True, *(bool(rng.integers(2)) for _ in range(affine))]
    got, counts = ran(lambda: normed(name, "cuda:0", arrays, needs, size))
    want = normed(name, "cpu", [rounded(a, "float64") for a in arrays], needs, size)
    rows = arrays[0].size // int(np.prod(size))
    for place, (g, w) in enumerate(zip(got, want, strict=True)):
        assert g.dtype == dtypes.dtype(dtype)
        scale = (4 + np.abs(w).max()) * (rows if place > 1 else 8)
        np.testing.assert_allclose(
            g.astype("f8"), w, rtol=EPS[dtype], atol=16 * min(EPS[dtype], 2.0**-23) * scale
        )
    summed = any(need and a is not None for need, a in zip(needs[1:], arrays[2:]))
    assert (count(counts, f"{name}_"), count(counts, "norm_fold_")) == (2, int(summed))
    assert not count(counts, "rows_")


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_norms_that_the_kernels_leave_to_the_formula(
    name: str, gpu: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w, ct = (rng.standard_normal(s) for s in ((6, 5), 5, (6, 5)))

    def both(x: Any, w: Any, ct: Any, needs: list[bool]) -> dict[str, int]:
        got, counts = ran(lambda: normed(name, "cuda:0", [ct, x, w], needs, (5,)))
        with np.errstate(all="ignore"):
            want = normed(name, "cpu", [ct, x, w], needs, (5,))
        for g, v in zip(got, want, strict=True):
            assert g.dtype == v.dtype
            np.testing.assert_allclose(g, v, rtol=1e-5, atol=1e-6)
        return counts

    assert count(both(x.astype("f4"), w, ct, [True, True]), "rows_")  # two dtypes
    only_weight = both(x, w, ct, [False, True])
    assert (count(only_weight, f"{name}_"), count(only_weight, "rows_") > 0) == (1, True)
    both(x[:0], w, ct[:0], [True, True])
    monkeypatch.setenv("TG_KERNELS", "0")
    assert not both(x, w, ct, [True, True])


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_second_derivatives_of_norms(name: str, gpu: Any, rng: np.random.Generator) -> None:
    values = [rng.standard_normal(s) for s in ((4, 6), 6, (4, 6), (4, 6))]
    found = {}
    for device in ("cpu", "cuda:0"):
        x, w, ct, v = (tg.tensor(a, device=device) for a in values)
        x.requires_grad = w.requires_grad = True
        y = (getattr(tg, name)(x, 6, w) * ct).sum()
        y.backward(create_graph=True)
        gx = x.grad
        x.grad = w.grad = None
        (gx * v).sum().backward()
        found[device] = [here(x.grad), here(w.grad)]
    for g, w in zip(found["cuda:0"], found["cpu"], strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-11)


def test_norm_keeps_its_statistics_in_float32(gpu: Any) -> None:
    """A mean of 1000 has no bfloat16 near enough to the numbers around it."""
    x = there(rounded(np.array([[1000.0, 1008.0, 1016.0, 1024.0]]), "bfloat16"))
    x.requires_grad = True
    tg.layer_norm(x, 4).backward(there(rounded(np.array([[1.0, 0.0, 0.0, 0.0]]), "bfloat16")))
    exact = tg.tensor(here(x).astype("f8"), requires_grad=True)
    tg.layer_norm(exact, 4).backward(tg.tensor([[1.0, 0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(here(x.grad).astype("f8"), here(exact.grad), rtol=2.0**-8, atol=1e-6)


# -- cross entropy -----------------------------------------------------------------------------


def entropy(
    device: str, x: Any, label: Any, factor: float | None = None, **options: Any
) -> list[Any]:
    """The loss and its gradient."""
    logits = tg.tensor(x, device=device, requires_grad=True)
    loss = tg.cross_entropy(logits, tg.tensor(label, device=device), **options)
    (loss if factor is None else loss * factor).backward()
    return [here(loss.detach()), here(logits.grad)]


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("columns", [1, 7, 400, 1030, 60_001])
@pytest.mark.parametrize("factor", [None, 0.3])
def test_cross_entropy(
    dtype: str, columns: int, factor: float | None, gpu: Any, rng: np.random.Generator
) -> None:
    """The forward writes the gradient; backward has nothing to do for a cotangent of 1."""
    n = 3 if columns > 1030 else 9
    x, label = rounded(rng.standard_normal((n, columns)), dtype), rng.integers(0, columns, n)
    label[rng.random(n) < 0.3] = -100
    label[0] = 0
    got, counts = ran(lambda: entropy("cuda:0", x, label, factor))
    want = entropy("cpu", x.astype("f8"), label, factor)
    least = min(EPS[dtype], 2.0**-23)
    np.testing.assert_allclose(got[0], want[0], rtol=EPS[dtype], atol=32 * least)
    floor = 2.0**-24 if dtype == "float16" else 0.0
    np.testing.assert_allclose(
        got[1].astype("f8"), want[1], rtol=EPS[dtype], atol=32 * least + floor
    )
    assert count(counts, "softmax_xent_pull_") == int(factor is not None)
    forward = 1 if columns <= 256 else 3
    assert count(counts, "softmax_xent_") == forward + 2 * (factor is not None)
    assert factor is not None or sum(counts.values()) == forward


@pytest.mark.parametrize("axis", [1, 0])
def test_cross_entropy_of_images_and_of_one_row(
    axis: int, gpu: Any, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((2, 5, 3, 4) if axis else 5)
    label = rng.integers(0, 5, (2, 3, 4)) if axis else np.array(3)
    for got, want in zip(entropy("cuda:0", x, label), entropy("cpu", x, label), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


def test_a_retained_graph_gives_the_same_bits_again(gpu: Any, rng: np.random.Generator) -> None:
    x, label = rng.standard_normal((6, 9)).astype("f4"), rng.integers(0, 9, 6)
    logits = there(x)
    logits.requires_grad = True
    loss = tg.cross_entropy(logits, there(label))
    loss.backward(retain_graph=True)
    first = here(logits.grad)
    logits.grad.data.fill(7)  # the first gradient is the caller's alone
    logits.grad = None
    loss.backward(there(np.float32(1)), retain_graph=True)
    np.testing.assert_array_equal(here(logits.grad), first)
    logits.grad = None
    loss.backward(there(np.float32(-2)))
    np.testing.assert_array_equal(here(logits.grad), -2 * first)


def test_the_logits_may_be_used_again(gpu: Any, rng: np.random.Generator) -> None:
    x, label = rng.standard_normal((4, 3)), rng.integers(0, 3, 4)
    found = {}
    for device in ("cpu", "cuda:0"):
        logits = tg.tensor(x, device=device, requires_grad=True)
        moved = logits * 1.5
        target = tg.tensor(label, device=device)
        (tg.cross_entropy(moved, target) + tg.cross_entropy(moved, target) * 2).backward()
        found[device] = here(logits.grad)
    np.testing.assert_allclose(found["cuda:0"], found["cpu"], rtol=1e-12, atol=1e-14)


def test_second_derivative_of_cross_entropy(gpu: Any, rng: np.random.Generator) -> None:
    values, label = [rng.standard_normal((4, 6)) for _ in range(2)], rng.integers(0, 6, 4)
    label[1] = -100
    found = {}
    for device in ("cpu", "cuda:0"):
        x, v = (tg.tensor(a, device=device) for a in values)
        x.requires_grad = True
        tg.cross_entropy(x, tg.tensor(label, device=device)).backward(create_graph=True)
        gradient, x.grad = x.grad, None
        (gradient * v).sum().backward()
        found[device] = here(x.grad)
    np.testing.assert_allclose(found["cuda:0"], found["cpu"], rtol=1e-10, atol=1e-12)


def test_no_gradient_is_written_where_nothing_is_recorded(
    gpu: Any, rng: np.random.Generator
) -> None:
    x, label = there(rng.standard_normal((512, 600))), there(rng.integers(0, 600, 512))
    tg.cross_entropy(x, label).item()
    gc.collect()
    with tg.no_grad():
        tg.cuda.reset_peak_memory_stats()
        before = tg.cuda.memory_allocated()
        tg.cross_entropy(x, label)
        assert tg.cuda.max_memory_allocated() - before < x.data.nbytes // 4


@pytest.mark.parametrize("options", [{"label_smoothing": 0.1}, {"reduction": "sum"},
                                     {"weight": True}, {"soft": True}])  # fmt: skip
def test_other_cross_entropies(options: Any, gpu: Any, rng: np.random.Generator) -> None:
    x, label, weight = rng.standard_normal((5, 7)), rng.integers(0, 7, 5), rng.random(7)
    if options.pop("soft", False):
        label = rng.dirichlet(np.ones(7), 5)
    weighted = options.pop("weight", False)
    found = []
    for device in ("cuda:0", "cpu"):
        more = {"weight": tg.tensor(weight, device=device)} if weighted else {}
        found.append(entropy(device, x, label, **options, **more))
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def test_all_labels_ignored(gpu: Any) -> None:
    got = entropy("cuda:0", np.ones((2, 3)), np.full(2, -100))
    assert np.isnan(got[0])
    assert not got[1].any()


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_a_captured_step_has_the_bits_of_the_eager_one(
    name: str, gpu: Any, rng: np.random.Generator
) -> None:
    size = 300
    labels = [rng.integers(0, size, 6) for _ in range(3)]
    xs = [rng.standard_normal((6, size)).astype("f4") for _ in labels]
    w = there(rng.standard_normal(size).astype("f4"))
    w.requires_grad = True

    def step(x: Any, label: Any) -> Any:
        w.grad = None
        loss = tg.cross_entropy(getattr(tg, name)(x, size, w), label)
        loss.backward()
        return loss.detach(), w.grad

    eager = [[here(v) for v in step(there(x), there(label))] for x, label in zip(xs, labels)]
    captured = tg.cuda.capture(step, (there(xs[0]), there(labels[0])))
    for x, label, want in zip(xs, labels, eager):
        for got, value in zip(captured(there(x), there(label)), want, strict=True):
            np.testing.assert_array_equal(here(got), value)
