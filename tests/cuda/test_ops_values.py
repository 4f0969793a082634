"""Values of the CUDA backend beside those of the CPU: dtypes, layouts, draws, writes, products."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, here, launches, there

import tensorgrad as tg
from tensorgrad import dtypes
from tensorgrad.core.primitive import PRIMITIVES

HALVES = ("float16", "bfloat16")


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus(devices=2) as machine:
        yield machine


def both(call: Any, *arrays: Any) -> tuple[Any, Any]:
    """What a function gives on the CPU and on a GPU."""
    with np.errstate(all="ignore"):
        return here(call(*map(tg.tensor, arrays))), here(call(*map(there, arrays)))


def equal(call: Any, *arrays: Any) -> None:
    want, got = both(call, *arrays)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


# -- whole numbers, bools, casts -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["add", "floor_divide", "remainder", "power", "maximum", "less",
                                  "bitwise_xor", "left_shift", "divide", "equal"])  # fmt: skip
def test_whole_numbers_are_those_of_numpy(name: str, gpu: Any, rng: np.random.Generator) -> None:
    for kinds in (("i4", "i4"), ("u1", "i2"), ("i8", "i8"), ("i1", "u4")):
        x, y = (rng.integers(0, 7, (3, 4)).astype(kind) for kind in kinds)
        equal(getattr(tg, name), x, y)


@pytest.mark.parametrize("name", ["absolute", "negative", "sign", "floor", "square", "sqrt"])
def test_one_whole_number(name: str, gpu: Any, rng: np.random.Generator) -> None:
    for kind in ("i1", "i4", "i8"):
        want, got = both(getattr(tg, name), rng.integers(0, 9, 5).astype(kind))
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-7 if want.dtype == np.float32 else 1e-3)


def test_casts(gpu: Any, rng: np.random.Generator) -> None:
    names = [n for n in dtypes.NAMES if not n.startswith("complex")]
    for source in names:
        x = rng.integers(0, 100, (3, 5)).astype(dtypes.dtype(source))
        for target in names:
            for given in (x, x.T, x[::2, ::-1]):
                equal(lambda t, target=target: t.astype(target), given)


@pytest.mark.parametrize("dtype", HALVES)
def test_arrangement_keeps_every_bit_of_a_half(
    dtype: str, gpu: Any, rng: np.random.Generator
) -> None:
    x = rng.integers(0, 2**16, (4, 6)).astype("u2").view(dtypes.dtype(dtype))
    for call in (
        lambda t: tg.roll(t, 2, 0), lambda t: tg.concatenate([t, t[:2]]), lambda t: t.T.copy(),
        lambda t: tg.stack([t, t]), lambda t: tg.tril(t, 1), lambda t: tg.flip(t, 0).copy(),
        lambda t: tg.pad(t, 1), lambda t: t[[3, 0, 0]], lambda t: tg.reshape(t.T, (3, 8)),
        lambda t: tg.take_along_axis(t, tg.argmax(t * 0, 1, keepdims=True), 1),
    ):  # fmt: skip
        want, got = both(call, x)
        np.testing.assert_array_equal(got.view("u2"), want.view("u2"))


@pytest.mark.parametrize("dtype", HALVES)
def test_halves_err_as_little_as_on_the_cpu(dtype: str, gpu: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((6, 8)).astype(dtypes.dtype(dtype))
    w = rng.standard_normal((5, 8)).astype(dtypes.dtype(dtype))
    eps = 2.0**-10 if dtype == "float16" else 2.0**-7
    for call in (
        lambda t, w: tg.linear(t, w), lambda t, w: tg.softmax(t), lambda t, w: tg.gelu(t),
        lambda t, w: t.sum(0), lambda t, w: tg.cumsum(t, 1), lambda t, w: tg.prod(t, 1),
        lambda t, w: t.max(1), lambda t, w: tg.layer_norm(t, (8,)), lambda t, w: t * 2 + 1,
        lambda t, w: tg.einsum("ij,kj->ik", t, w), lambda t, w: tg.logsumexp(t, 1),
    ):  # fmt: skip
        want, got = both(call, x, w)
        assert got.dtype == want.dtype
        exact = here(call(tg.tensor(x.astype("f8")), tg.tensor(w.astype("f8"))))
        error = np.abs(got.astype("f8") - exact)
        assert np.all(error <= 2 * eps * np.maximum(np.abs(exact), 1))


# -- layouts -------------------------------------------------------------------------------------


def test_results_take_the_order_of_their_arrays(gpu: Any, rng: np.random.Generator) -> None:
    x = there(rng.standard_normal((3, 5))).T
    assert (x * 2).data.flags.f_contiguous
    assert (tg.exp(x) + x[:, :1]).data.flags.f_contiguous
    assert (x + there(rng.standard_normal((5, 3)))).shape == (5, 3)


def test_more_axes_than_a_kernel_has(gpu: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2,) * 10)
    y = rng.standard_normal((2, 1) * 5)
    want, got = both(lambda a, b: tg.exp(a.transpose((9, 1, 7, 3, 5, 4, 6, 2, 8, 0))) * b, x, y)
    np.testing.assert_allclose(got, want, rtol=1e-14)


def test_out_may_be_an_input_or_meet_one(gpu: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal(40)
    for write in (lambda t: t[1:], lambda t: t[:-1], lambda t: t[::-1]):
        moved, kept = there(x), tg.tensor(x)
        kernel, own = (PRIMITIVES["multiply"].kernels[type(t.data)] for t in (moved, kept))
        size = write(kept).size
        kernel(moved.data[:size], moved.data[:size], out=write(moved).data)
        own(kept.data[:size], kept.data[:size], out=write(kept).data)
        np.testing.assert_array_equal(here(moved), here(kept))


def test_out_of_another_layout_and_dtype(gpu: Any, rng: np.random.Generator) -> None:
    import cupy

    x = there(rng.standard_normal((4, 6)))
    kernel = PRIMITIVES["exp"].kernels[cupy.ndarray]
    for out in (cupy.empty((6, 4)).T, cupy.empty((4, 12))[:, ::2], cupy.empty((4, 6), "f4")):
        assert kernel(x.data, out=out) is out
        np.testing.assert_allclose(here(out), np.exp(here(x)), rtol=1e-6)
    rows = PRIMITIVES["softmax"].kernels[cupy.ndarray]
    outs = rows(x.data, axis=(1,), shape=(4, 6))
    given = tuple(cupy.empty(o.shape[::-1], o.dtype).T for o in outs)
    rows(x.data, axis=(1,), shape=(4, 6), out=given)
    for o, g in zip(outs, given):
        np.testing.assert_array_equal(here(g), here(o))


def test_a_formula_beyond_one_kernel_runs_in_parts(gpu: Any, rng: np.random.Generator) -> None:
    @tg.fuse
    def many(a: Any, b: Any) -> Any:
        for _ in range(45):
            a = tg.tanh(a * b) + b
        return a

    x, y = rng.standard_normal((2, 3, 50))
    before = sum(launches().values())
    want, got = both(many, x, y)
    assert sum(launches().values()) - before > 1
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)  # values cross 0


def test_generated_kernels_can_be_turned_off(
    gpu: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TG_KERNELS", "0")

    @tg.fuse
    def fresh(a: Any, b: Any) -> Any:
        return tg.where(a > b, tg.softplus(a), tg.sigmoid(b) * 3.5) + tg.clip(a, -1, 1)

    before = dict(launches())
    want, got = both(fresh, *rng.standard_normal((2, 7, 5)))
    np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-15)  # the sum may cancel
    moved = there(rng.standard_normal((6, 4)).astype("f4"))
    labels = there(rng.integers(0, 4, 6))
    loss = tg.cross_entropy(moved, labels, reduction="none").sum()
    assert np.isfinite(loss.item())
    assert dict(launches()) == before


# -- draws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", *HALVES])
def test_draws_are_those_of_the_cpu(dtype: str, gpu: Any, seed: int) -> None:
    for call in (
        lambda d, g: tg.rand(1001, dtype=dtype, device=d, generator=g),
        lambda d, g: tg.randn(77, 5, dtype=dtype, device=d, generator=g),
        lambda d, g: tg.integers(-3, 1000, (70,), device=d, generator=g),
        lambda d, g: tg.integers(-(2**62), 2**62, (70,), device=d, generator=g),
        lambda d, g: tg.integers(0, 200, (70,), "uint8", device=d, generator=g),
        lambda d, g: tg.permutation(100, device=d, generator=g),
        lambda d, g: tg.dropout(
            tg.ones((3, 41), dtype=dtype, device=d), 0.3, generator=g),
    ):  # fmt: skip
        want, got = (here(call(d, tg.Generator(seed))) for d in ("cpu", "cuda"))
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


@pytest.mark.gpus(2)
def test_creation_is_that_of_the_cpu(gpu: Any) -> None:
    for call in (
        lambda d: tg.arange(0.1, 3, 0.3, "float32", device=d), lambda d: tg.arange(7, device=d),
        lambda d: tg.linspace(0, 1, 7, device=d), lambda d: tg.eye(3, 4, 1, device=d),
        lambda d: tg.tri(3, 4, device=d), lambda d: tg.full((2, 3), 1.5, "bfloat16", device=d),
        lambda d: tg.zeros((2, 0), device=d), lambda d: tg.tensor([[1, 2], [3, 4]], device=d),
        lambda d: tg.eye(3, dtype="bfloat16", device=d), lambda d: tg.ones((2,), "c8", device=d),
    ):  # fmt: skip
        want, got = (call(d) for d in ("cpu", "cuda:1"))
        assert got.device == "cuda:1"
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(here(got), here(want))


# -- writes --------------------------------------------------------------------------------------


def test_writes_by_index(gpu: Any, rng: np.random.Generator) -> None:
    value, mask = rng.standard_normal(6), rng.integers(0, 2, (4, 6)).astype(bool)
    for key in (
        (0,), (slice(None), 1), (..., 2), ([0, 2, 0],), (slice(None, None, 2), [5, 5, -1]), (mask,),
        ([1, 1, 1], [2, 2, 2]),
    ):  # fmt: skip
        want, got = (move(np.zeros((4, 6))) for move in (tg.tensor, there))
        for x, move in ((want, tg.tensor), (got, there)):
            given = np.array(1.5) if key[0] is mask else value[: np.zeros((4, 6))[key].shape[-1]]
            x[tuple(there(k) if move is there else k for k in key)] = move(given)
        np.testing.assert_array_equal(here(got), here(want))


def test_augmented_writes(gpu: Any, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 3, 4))
    want, got = tg.tensor(x), there(x)
    for a, move in ((want, tg.tensor), (got, there)):
        a += move(y)
        a *= 2
        a[1:] -= a[:-1].copy()
    np.testing.assert_allclose(here(got), here(want), rtol=1e-15)


def test_the_last_of_equal_indices_wins(gpu: Any, rng: np.random.Generator) -> None:
    x, values = rng.standard_normal(50), rng.standard_normal(2000)
    places = rng.integers(-50, 50, 2000)
    equal(lambda a, k, v: tg.put_along_axis(a, k, v, 0), x, places, values)


# -- products ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int64", "bool"])
def test_products_in_every_layout(dtype: str, gpu: Any, rng: np.random.Generator) -> None:
    def draw(*shape: int) -> Any:
        found = rng.standard_normal(shape) * 4
        return (found + 1j * found[..., ::-1] if dtype[0] == "c" else found).astype(dtype)

    for x, y in (
        (draw(3, 4), draw(4, 5)), (draw(4, 3).T, draw(5, 4).T), (draw(2, 3, 4), draw(4, 5)),
        (draw(2, 1, 3, 4), draw(6, 4, 5)), (draw(4), draw(4)), (draw(3, 4), draw(4)),
        (draw(4), draw(2, 4, 3)), (draw(6, 8)[::2, ::2], draw(4, 5)), (draw(3, 0), draw(0, 2)),
        (draw(0, 3), draw(3, 2)), (draw(3, 4)[::-1], draw(4, 5)),
    ):  # fmt: skip
        want, got = both(tg.matmul, x, y)
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        np.testing.assert_allclose(got, want, rtol=1e-4 if got.itemsize == 4 else 1e-5, atol=1e-4)


def test_gradients_are_written_where_they_belong(gpu: Any, rng: np.random.Generator) -> None:
    x, w, b = (rng.standard_normal(s).astype("f4") for s in ((7, 5), (3, 5), (3,)))
    weight, bias = tg.nn.Parameter(there(w)), tg.nn.Parameter(there(b))
    optimizer = tg.optim.SGD([weight, bias], lr=0.1)
    buffers = [p.node.into for p in (weight, bias)]
    tg.linear(there(x), weight, bias).sum().backward()
    for parameter, buffer in zip((weight, bias), buffers):
        assert parameter.grad.data is buffer
    optimizer.step()
    np.testing.assert_allclose(here(bias), b - 0.1 * 7, rtol=1e-5, atol=1e-6)


def test_clipping_of_gradients(gpu: Any, rng: np.random.Generator) -> None:
    w = rng.standard_normal((3, 5)).astype("f4")
    norms = []
    for move in (tg.tensor, there):
        weight = tg.nn.Parameter(move(w))
        (weight * weight).sum().backward()
        norms.append(tg.optim.clip_grad_norm_([weight], 0.5).item())
        np.testing.assert_allclose(np.linalg.norm(here(weight.grad)), 0.5, rtol=1e-5)
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
