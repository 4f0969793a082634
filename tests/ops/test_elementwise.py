"""Conventions, operators, dtypes and errors of the elementwise operations."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from draw import Draw
from place import shares, ulps

import tensorgrad as tg
from tensorgrad import Tensor
from tensorgrad.core.backward import gradients
from tensorgrad.core.primitive import PRIMITIVES
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.expr import Expr
from tensorgrad.expr import input as variable
from tensorgrad.ops.operators import ALIASES
from tensorgrad.testing import check_grad

FAMILIES = {"elementwise", "elementary", "compare", "complex", "operators", "activations"}
ALONG = {"nn.glu", "nn.softmin", "nn.rrelu"}
"""Activations that are no formulas of elements: they look along an axis, or draw numbers."""
OWN = sorted(n for n, o in OPERATIONS.items() if o.family in FAMILIES and n not in ALONG)


def slopes(f: Callable[..., Any], *points: Any, order: int = 1) -> list[float]:
    """Derivatives of f at scalar points, of the given order in the first of them."""
    xs = [Tensor(np.asarray(p, np.float64), requires_grad=True) for p in points]
    y = f(*xs)
    for _ in range(order):
        if y is None or y.node is None:
            return [0.0] * len(xs)
        nodes: Any = [x.node for x in xs]
        found = gradients([y], [Tensor(np.ones(()))], nodes, create_graph=True, free=False)
        y = found[0]
    return [0.0 if g is None else g.item() for g in found]


CONVENTIONS: list[tuple[Callable[..., Any], tuple[float, ...], list[float]]] = [
    (tg.relu, (0.0,), [0.0]),
    (tg.relu6, (0.0,), [0.0]),
    (tg.relu6, (6.0,), [0.0]),
    (tg.hardtanh, (1.0,), [0.0]),
    (tg.leaky_relu, (0.0,), [0.01]),
    (tg.absolute, (0.0,), [0.0]),
    (tg.sign, (0.0,), [0.0]),
    (tg.round, (0.5,), [0.0]),
    (tg.floor, (1.0,), [0.0]),
    (tg.step, (0.0,), [0.0]),
    (tg.sqrt, (0.0,), [np.inf]),
    (tg.hypot, (0.0, 0.0), [0.0, 0.0]),
    (tg.arctan2, (0.0, 0.0), [0.0, 0.0]),
    (tg.power, (2.0, 0.0), [0.0, np.log(2.0)]),
    (tg.power, (0.0, 0.0), [0.0, 0.0]),
    (tg.power, (0.0, 1.5), [0.0, 0.0]),
    (tg.maximum, (1.0, 1.0), [0.5, 0.5]),
    (tg.minimum, (1.0, 1.0), [0.5, 0.5]),
    (tg.fmax, (np.nan, 1.0), [0.0, 1.0]),
    (tg.clip, (1.0, 0.0, 1.0), [1.0, 0.0, 0.0]),
    (tg.clip, (2.0, 0.0, 1.0), [0.0, 0.0, 1.0]),
    (lambda x, low: tg.clip(x, low), (1.0, 1.0), [1.0, 0.0]),
    (lambda x, high: tg.clip(x, max=high), (1.0, 1.0), [1.0, 0.0]),
    (lambda x, y: tg.where(False, x, y), (1.0, 1.0), [0.0, 1.0]),
]


@pytest.mark.parametrize(("f", "points", "want"), CONVENTIONS)
def test_conventions_where_mathematics_leaves_a_choice(
    f: Callable[..., Any], points: tuple[float, ...], want: list[float]
) -> None:
    with np.errstate(all="ignore"):
        assert slopes(f, *points) == pytest.approx(want, nan_ok=False)


def test_the_modulus_of_a_complex_number_has_gradient_zero_at_zero() -> None:
    z = Tensor(np.array([0j, 3 + 4j]), requires_grad=True)
    tg.absolute(z).sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), [0, 0.6 + 0.8j])  # type: ignore[union-attr]


BOUNDED = "relu relu6 step selu silu mish leaky_relu elu softplus hardtanh gelu sigmoid"


@pytest.mark.parametrize("name", BOUNDED.split())
def test_activations_neither_overflow_nor_lose_nan(name: str) -> None:
    f = OPERATIONS[name].function
    far = f(np.array([-1e4, -800.0, 800.0, 1e4])).numpy()
    assert np.all(np.isfinite(far))
    assert far[0] <= 0 <= far[-1]
    assert np.isnan(f(np.nan).item())
    for point in (-800.0, 800.0):
        for order in (1, 2, 3):
            assert np.isfinite(slopes(f, point, order=order)).all()


def test_gelu_keeps_its_digits_in_the_left_tail() -> None:
    from scipy.special import log_ndtr

    x = np.array([-30.0, -10.0, -6.0])
    np.testing.assert_allclose(tg.gelu(x).numpy(), x * np.exp(log_ndtr(x)), rtol=1e-12)


def test_parameters_of_activations_carry_gradients(rng: np.random.Generator) -> None:
    x = rng.uniform(0.2, 2, 6) * rng.choice([-1, 1], 6)
    for f in (tg.elu, tg.leaky_relu, tg.softplus, tg.prelu):
        check_grad(f, [x, np.asarray(rng.uniform(0.5, 2))], order=3, rng=rng)
    check_grad(tg.hardtanh, [x, np.asarray(-0.15), np.asarray(0.12)], order=2, rng=rng)


OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow, operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge,
    divmod,
]  # fmt: skip


@pytest.mark.parametrize("op", OPERATORS)
def test_operators_mean_numpys(op: Callable[..., Any], rng: np.random.Generator) -> None:
    x, y = rng.uniform(0.5, 3, (2, 3)), rng.uniform(0.5, 3, 3)
    for a, b in ((x, y), (x, 2), (x, 2.5), (2, x), (2.5, x), (x, 0), (x.astype("f4"), 0.5)):
        with np.errstate(all="ignore"):
            want = op(a, b)
            got = op(*(Tensor(v) if isinstance(v, np.ndarray) else v for v in (a, b)))
        for g, w in zip(*((v if isinstance(v, tuple) else (v,)) for v in (got, want))):
            assert g.dtype == w.dtype
            np.testing.assert_allclose(g.numpy(), w, rtol=ulps(2, w.dtype))
    with np.errstate(all="ignore"):
        mixed = op(x, Tensor(y))
    assert all(isinstance(v, Tensor) for v in (mixed if isinstance(mixed, tuple) else (mixed,)))


BITS = [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift]


@pytest.mark.parametrize("op", BITS)
def test_bit_operators_mean_numpys(op: Callable[..., Any], rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 50, 7), rng.integers(0, 9, 7)
    for a, b in ((x, y), (x, 3), (3, y)):
        got = op(*(Tensor(v) if isinstance(v, np.ndarray) else v for v in (a, b)))
        np.testing.assert_array_equal(got.numpy(), op(a, b))
    np.testing.assert_array_equal((~Tensor(x)).numpy(), ~x)
    np.testing.assert_array_equal((-Tensor(x)).numpy(), -x)
    np.testing.assert_array_equal(abs(Tensor(-x)).numpy(), x)


def test_powers_take_the_short_way_that_numpy_takes() -> None:
    x = Tensor(np.array([1.0, 4.0]), requires_grad=True)
    names = [(x**p).node.primitive.name for p in (2, 2.0, 0.5, -1, 3)]
    assert names == ["square", "square", "sqrt", "reciprocal", "power"]
    assert np.signbit((Tensor(np.array(-0.0)) ** 0.5).numpy())
    with pytest.raises(ValueError, match="negative integer powers"):
        Tensor(np.array([2])) ** -1


def test_equality_leaves_what_is_no_array_to_python() -> None:
    x = Tensor(np.zeros(2))
    assert (x == None) is False  # noqa: E711
    assert (x != "a") is True
    assert (x == [0, 1]).tolist() == [True, False]


def test_exact_comparison_of_large_integers() -> None:
    a, b = np.array([2**53], np.int64), np.array([2**53 + 1], np.uint64)
    assert not tg.equal(a, b).item()
    assert tg.not_equal(a, b).item()
    assert tg.less(a, b).item()
    assert tg.greater(b, a).item()


def test_logic_counts_every_number_but_zero_as_true() -> None:
    x, y = np.array([0, 1, 2, 0.5, np.nan]), np.array([3.0, 2, 0, 1, 1])
    for name in ("logical_and", "logical_or", "logical_xor"):
        np.testing.assert_array_equal(
            OPERATIONS[name].function(x, y).numpy(), getattr(np, name)(x, y)
        )
    assert tg.where(np.array([2, 0, -1]), 1.0, 0.0).tolist() == [1.0, 0.0, 1.0]
    assert tg.where(np.array([0.0, np.nan]), 1, 0).tolist() == [0, 1]


def test_numbers_are_weak_beside_arrays() -> None:
    x = np.array([-1.0, 2.0], np.float32)
    for f in (
        tg.leaky_relu, tg.elu, tg.hardtanh, tg.softplus, tg.gelu, tg.silu, tg.step, tg.relu,
        lambda v: tg.clip(v, -0.5, 0.5), lambda v: tg.where([True, False], v, 0.5),
        lambda v: tg.where(np.array([1, 0]), 0.5, v), lambda v: tg.pow(v, 3), lambda v: v * 0.1,
        lambda v: tg.add(v, 0.5), lambda v: tg.maximum(0.5, v),
    ):  # fmt: skip
        assert f(x).dtype == np.float32
        assert f(Tensor(x)).dtype == np.float32
    assert tg.clip(np.array([1, 5]), 2, 3).dtype == np.int64
    assert tg.clip(np.array([1, 5]), 1.5).tolist() == [1.5, 5.0]
    assert tg.relu(np.array([-1, 2])).tolist() == [0, 2]


def test_parts_of_real_tensors_are_free() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    assert tg.conj(x) is x
    assert tg.real(x) is x
    assert tg.imag(x).tolist() == [0.0, 0.0, 0.0]


def test_parts_of_complex_tensors_are_views() -> None:
    z = Tensor(np.array([1 + 2j, 3 - 1j]))
    assert shares(tg.real(z), z)
    assert shares(tg.imag(z), z)


def test_complex_gradients_are_adjoint_under_the_real_inner_product() -> None:
    z = Tensor(np.array(1 + 2j), requires_grad=True)
    (tg.real(z * z)).backward()
    assert z.grad.item() == 2 * (1 - 2j)  # type: ignore[union-attr]
    w = Tensor(np.array(1 + 2j), requires_grad=True)
    tg.imag(tg.conj(w)).backward()
    assert w.grad.item() == -1j  # type: ignore[union-attr]


def test_a_function_that_is_not_holomorphic_refuses_complex_gradients() -> None:
    z = Tensor(np.array([1 + 1j]), requires_grad=True)
    y = PRIMITIVES["sign"].bind(z)
    with pytest.raises(tg.NotDifferentiable, match=r"sign: got a complex input"):
        tg.real(y).sum().backward()


@pytest.mark.parametrize("name", OWN)
def test_every_operation_can_stand_in_a_formula(name: str, rng: np.random.Generator) -> None:
    args, options = list(OPERATIONS[name].samples(Draw(rng)))[1]
    kinds = {"i": "i", "b": "b"}
    inputs = [
        variable(f"x{k}", kinds.get(a.dtype.kind, "f")) if isinstance(a, np.ndarray) else a
        for k, a in enumerate(args)
    ]
    made = OPERATIONS[name].function(*inputs, **options)
    assert all(isinstance(e, Expr) for e in (made if isinstance(made, tuple) else (made,)))


def test_array_api_names_are_operations_under_another_name() -> None:
    for alias, name in ALIASES.items():
        assert name in OPERATIONS
        assert alias not in OPERATIONS


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: tg.where([True], 1.0), "where: got x alone, expected both or neither; "),
        (lambda: tg.clip(np.ones(2), 1, a_min=2), "clip: got both min and a_min, expected one; "),
        (lambda: tg.gelu(np.ones(2), "erf"), "gelu: got approximate='erf', expected 'none' or "),
        (
            lambda: tg.prelu(np.ones((2, 3)), np.ones(2)),
            r"prelu: got x=float64\(2, 3\), weight=float64\(2,\), expected one weight, or one per "
            r"channel \(axis 1 of x\); try a weight of shape \(3,\)",
        ),
        (
            lambda: tg.add(np.ones(3), np.ones(4)),
            r"add: got shapes \(3,\), \(4,\), expected sizes that are equal or 1 on every axis",
        ),
        (lambda: Tensor(np.ones(2)) + "a", "add: got 'a', expected a tensor, an array or a number"),
    ],
)
def test_error_texts(call: Callable[[], Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        call()
