"""Reduce formulas: softmax, cross-entropy and the norms, their derivatives, their saved rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special
from expr_tools import check_vjp, real, results, run, sample, view

from tensorgrad.expr import (
    COLUMN,
    ROW,
    SCALAR,
    Formula,
    at,
    bc,
    call,
    input,
    iota,
    isum,
    ncols,
    nrows,
    rmax,
    row_values,
    rsum,
    stop,
    topo,
    where,
)

X, W, B = input("X"), input("W", "f", COLUMN), input("B", "f", COLUMN)
EPS = 0.9
S = input("s", "f", SCALAR)
T = input("T", "i", ROW)


def exp(e: Any) -> Any:
    return call("exp", e)


def log(e: Any) -> Any:
    return call("log", e)


def lse(x: Any) -> Any:
    m = stop(rmax(x))
    return m + log(rsum(exp(x - m)))


def softmax(x: Any) -> Any:
    e = exp(x - stop(rmax(x)))
    return e / rsum(e)


def layer_norm(x: Any, w: Any, b: Any) -> Any:
    xc = x - rsum(x) / ncols()
    return xc * (1.0 / call("sqrt", rsum(xc * xc) / ncols() + EPS)) * w + b


def rms_norm(x: Any, w: Any) -> Any:
    return x * (1.0 / call("sqrt", rsum(x * x) / ncols() + EPS)) * w


def cross_entropy(x: Any, t: Any) -> Any:
    return lse(x) - at(x, t)


def masked(x: Any, t: Any) -> Any:
    """Cross-entropy where column 0 is ignored, summed over rows."""
    return isum(where(t > 0, cross_entropy(x, t), 0))


CASES: dict[str, tuple[Any, Any]] = {
    "softmax": (softmax, (X,)),
    "log_softmax": (lambda x: x - lse(x), (X,)),
    "logsumexp": (lse, (X,)),
    "cross_entropy": (cross_entropy, (X, T)),
    "mean_cross_entropy": (lambda x, t: isum(cross_entropy(x, t) / nrows()), (X, T)),
    "masked": (masked, (X, T)),
    "layer_norm": (layer_norm, (X, W, B)),
    "rms_norm": (rms_norm, (X, W)),
    "max": (rmax, (X,)),
    "bias": (lambda x, b: x + b, (X, B)),
    "row": (lambda x, s: (x * s, rsum(call("sin", x * s))), (X, S)),
    "broadcast": (lambda w, s: bc(w * w * s, ROW), (W, S)),
    "moments": (lambda x: (rsum(x) / ncols(), rsum(call("square", x)), isum(x * x)), (X,)),
    "guarded": (lambda x, w: rsum(where(x > 0, call("sqrt", x) * w, x)) * w, (X, W)),
}
SHAPES = [(5, 7), (1, 3), (4, 1)]


def formula(name: str) -> Formula:
    fn, inputs = CASES[name]
    return Formula.trace(name, fn, inputs)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CASES)
def test_vjp_and_vjp_of_vjp(name: str, shape: Any, rng: np.random.Generator) -> None:
    f: Formula | None = formula(name)
    # The derivative of max compares with the output: that one cannot be moved alone.
    for _ in range(1 if name == "max" else 3):
        if f is None:
            break
        ins = [sample(e, shape, rng) for e in f.inputs]
        f = check_vjp(f, spread(name, ins), rng, shape).formula


def spread(name: str, ins: Any) -> Any:
    """Off the joints: a difference must not step from one branch into the other."""
    if name == "guarded":
        ins[0] = np.sign(ins[0]) * (0.5 + np.abs(ins[0]))
    if name == "max":
        ins[0] = ins[0].ravel().argsort().reshape(ins[0].shape) * 0.1
    return ins


def test_values_against_scipy(rng: np.random.Generator) -> None:
    a, t = rng.standard_normal((6, 9)) * 30, rng.integers(0, 9, (6, 1))
    close = np.testing.assert_allclose
    soft = scipy.special.log_softmax(a, axis=1)
    close(run(formula("softmax"), [a], a.shape)[0], np.exp(soft), rtol=1e-13)
    close(run(formula("log_softmax"), [a], a.shape)[0], soft, atol=1e-13)
    close(run(formula("logsumexp"), [a], a.shape)[0][:, 0], scipy.special.logsumexp(a, 1))
    nll = -np.take_along_axis(soft, t, 1)
    close(run(formula("cross_entropy"), [a, t], a.shape)[0], nll, rtol=1e-12, atol=1e-13)
    close(run(formula("mean_cross_entropy"), [a, t], a.shape)[0], [[nll.mean()]], rtol=1e-12)
    close(run(formula("masked"), [a, t], a.shape)[0], [[nll[t > 0].sum()]], rtol=1e-12)
    w, b = rng.standard_normal((2, 1, 9))
    normal = (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, keepdims=True) + EPS)
    close(run(formula("layer_norm"), [a, w, b], a.shape)[0], normal * w + b, atol=1e-13)


def test_gradients_in_closed_form(rng: np.random.Generator) -> None:
    a, t = rng.standard_normal((4, 6)), rng.integers(0, 6, (4, 1))
    ct = rng.standard_normal((4, 1))
    (g,) = results(formula("cross_entropy").vjp((0,), (0,)), [a, t], [], {0: ct}, a.shape)
    want = ct * (scipy.special.softmax(a, 1) - (np.arange(6) == t))
    np.testing.assert_allclose(g, want, rtol=1e-12, atol=1e-15)


def test_the_largest_shares_its_cotangent_among_ties() -> None:
    a, ct = np.array([[1.0, 3.0, 3.0, 3.0]]), np.array([[6.0]])
    d = formula("max").vjp((0,), (0,))
    (g,) = results(d, [a], [np.array([[3.0]])], {0: ct}, a.shape)
    assert g.tolist() == [[0, 2, 2, 2]]


def test_a_bias_is_summed_over_rows_and_the_identity_is_an_alias() -> None:
    d = formula("bias").vjp((0, 1), (0,))
    assert d.results == (("ct", 0), ("kernel", 0))
    assert d.formula is not None
    assert d.formula.outputs[0].op == "isum"


def test_node_counts_by_order() -> None:
    counts: dict[str, list[int]] = {}
    for name in ("softmax", "cross_entropy", "layer_norm"):
        f: Formula | None = formula(name)
        counts[name] = []
        for _ in range(3):
            assert f is not None
            counts[name].append(len(topo(f.outputs)))
            f = f.vjp(real(f.inputs), real(f.outputs)).formula
    assert counts == {
        "softmax": [7, 14, 27],
        "cross_entropy": [11, 16, 25],
        "layer_norm": [18, 37, 85],
    }


@pytest.mark.parametrize("name", CASES)
def test_row_values_change_nothing_but_the_work(name: str, rng: np.random.Generator) -> None:
    f = formula(name)
    wanted, given = real(f.inputs), real(f.outputs)
    d = f.vjp(wanted, given)
    wider, shorter = row_values(f, d)
    shape = (5, 7)
    ins = [sample(e, shape, rng) for e in f.inputs]
    outs = run(wider, ins, shape)
    cts = {k: rng.standard_normal(outs[k].shape) for k in given}
    assert wider.outputs[: len(f.outputs)] == f.outputs
    for a, b in zip(
        results(d, ins, outs, cts, shape), results(shorter, ins, outs, cts, shape), strict=True
    ):
        assert (a is None and b is None) or np.array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "saved", "removed"),
    [("cross_entropy", 2, 2), ("layer_norm", 3, 2), ("rms_norm", 2, 1), ("bias", 0, 0)],
)
def test_row_values_take_the_reductions_out_of_the_backward_formula(
    name: str, saved: int, removed: int
) -> None:
    f = formula(name)
    d = f.vjp(real(f.inputs), (0,))
    wider, shorter = row_values(f, d)
    assert len(wider.outputs) == 1 + saved
    assert shorter.formula is not None
    assert d.formula is not None
    left = sum(e.op in ("rsum", "rmax") for e in topo(shorter.formula.outputs))
    before = sum(e.op in ("rsum", "rmax") for e in topo(d.formula.outputs))
    assert left == before - removed
    again = row_values(wider, shorter)
    assert again[0] is wider
    assert again[1] is shorter


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([0, 7, -1], "cross_entropy: got label 7 in row 1, expected 0 <= label < 4; try labels"),
        ([0, 1, -1], "cross_entropy: got label -1 in row 2, expected 0 <= label < 4"),
    ],
)
def test_labels_out_of_range(labels: Any, text: str) -> None:
    for dtype in (np.int64, np.int8, np.int32):
        with pytest.raises(IndexError) as error:
            run(
                formula("cross_entropy"),
                [np.zeros((3, 4)), np.array(labels, dtype)[:, None]],
                (3, 4),
            )
        assert text in str(error.value)
    with pytest.raises(TypeError, match="cross_entropy: got labels of type float64, expected int"):
        run(formula("cross_entropy"), [np.zeros((3, 4)), np.zeros((3, 1))], (3, 4))
    with pytest.raises(IndexError, match="got label 200 in row 0"):
        run(formula("cross_entropy"), [np.zeros((1, 4)), np.array([[200]], np.uint8)], (1, 4))


def test_many_columns_with_narrow_labels(rng: np.random.Generator) -> None:
    a, t = rng.standard_normal((3, 1000)), np.array([[0], [255], [9]], np.uint8)
    got = run(formula("cross_entropy"), [a, t], a.shape)[0]
    want = -np.take_along_axis(scipy.special.log_softmax(a, 1), t.astype(int), 1)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_outputs_are_full_and_writable() -> None:
    shape = (3, 4)
    f = Formula.trace(
        "f",
        lambda x, w, s: (bc(w, ROW), iota() + 0, rsum(w), nrows() * 1, isum(w * s), 2.5, x),
        (X, W, S),
    )
    ins = [np.ones(shape), np.arange(4.0)[None], np.array([[2.0]])]
    outs = run(f, ins, shape)
    assert [o.shape for o in outs] == [view(e.index, shape) for e in f.outputs]
    assert outs[0].tolist() == [[0, 1, 2, 3]] * 3
    assert outs[2].tolist() == [[6]]
    assert outs[3].tolist() == [[3]]
    assert outs[4].tolist() == [[0, 6, 12, 18]]
    for o in outs:
        o[...] = 0
    assert ins[0].sum() == 12


def test_empty_rows() -> None:
    a, t = np.zeros((0, 4)), np.zeros((0, 1), int)
    assert run(formula("cross_entropy"), [a, t], a.shape)[0].shape == (0, 1)
    assert run(formula("mean_cross_entropy"), [a, t], a.shape)[0].shape == (1, 1)
    d = formula("layer_norm").vjp((0, 1, 2), (0,))
    one = np.ones((1, 4))
    grads = results(d, [a, one, one], [], {0: a}, a.shape)
    assert [g.shape for g in grads] == [(0, 4), (1, 4), (1, 4)]


def test_a_column_that_is_output_and_used_by_the_rows_raises() -> None:
    f = Formula.trace("f", lambda x, w: (x * w, w * w), (X, W))
    with pytest.raises(ValueError, match="vjp: got W, which the rows use and which is an output"):
        f.vjp((1,), (0, 1))
