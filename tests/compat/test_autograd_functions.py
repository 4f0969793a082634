"""autograd's functions of functions: conventions, containers, complex arguments, errors."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as onp
import pytest

import tensorgrad.compat.autograd as ag
import tensorgrad.compat.autograd.numpy as np
from tensorgrad import Tensor
from tensorgrad.compat.autograd.extend import defvjp
from tensorgrad.compat.autograd.misc.flatten import flatten, flatten_func
from tensorgrad.compat.autograd.misc.optimizers import adam, rmsprop, sgd
from tensorgrad.compat.autograd.test_util import check_grads, combo_check


def tanh(x: Any) -> Any:
    return (1.0 - np.exp(-2 * x)) / (1.0 + np.exp(-(2 * x)))


def test_the_example_of_the_first_page(rng: onp.random.Generator) -> None:
    x = rng.normal()
    found = ag.grad(tanh)(x)
    assert type(found) is onp.float64
    assert found == pytest.approx(1 - onp.tanh(x) ** 2)
    xs, derivative = onp.linspace(-3, 3, 20), tanh
    expected = onp.tanh(xs)
    for _ in range(4):
        derivative = ag.elementwise_grad(derivative)
    polynomial = onp.polynomial.Polynomial([0, 1])
    for _ in range(4):
        polynomial = polynomial.deriv() * onp.polynomial.Polynomial([1, 0, -1])
    onp.testing.assert_allclose(derivative(xs), polynomial(expected), atol=1e-9)


def taylor_sine(x: Any) -> Any:
    ans = currterm = x
    i = 0
    while np.abs(currterm) > 1e-9:
        currterm = -currterm * x**2 / ((2 * i + 3) * (2 * i + 2))
        ans = ans + currterm
        i += 1
    return ans


def test_control_flow_of_the_tutorial() -> None:
    assert ag.grad(taylor_sine)(onp.pi) == pytest.approx(-1.0)
    assert ag.grad(lambda x: x**2 if x > 0 else -x)(-2.0) == -1.0


def test_logistic_regression_of_the_tutorial() -> None:
    inputs = onp.array([[0.52, 1.12, 0.77], [0.88, -1.08, 0.15], [0.52, 0.06, -1.30],
                        [0.74, -2.49, 1.39]])  # fmt: skip
    targets = onp.array([True, True, False, True])

    def loss(weights: Any) -> Any:
        p = 0.5 * (np.tanh(np.dot(inputs, weights) / 2.0) + 1)
        return -np.sum(np.log(p * targets + (1 - p) * (1 - targets)))

    weights = onp.zeros(3)
    first = loss(weights)
    for _ in range(50):
        weights -= 0.1 * ag.grad(loss)(weights)
    assert loss(weights) < 0.5 * first
    check_grads(loss, modes=["rev"])(weights)


def test_arguments_by_number(rng: onp.random.Generator) -> None:
    a, b = rng.normal(size=2)
    product = lambda x, y: x * y  # noqa: E731
    assert ag.grad(product)(a, b) == b
    assert ag.grad(product, 1)(a, b) == ag.grad(product, argnum=-1)(a, b) == a
    assert ag.grad(product, argnum=(0, 1))(a, b) == ag.grad(product, [0, 1])(a, b) == (b, a)
    assert ag.grad_named(product, "y")(a, b) == a
    found = ag.multigrad_dict(lambda x, y=2.0, *z, **k: x * y * z[0] * k["w"])(a, b, 2.0, w=3.0)
    assert list(found) == ["x", "y", "z", "k"]
    assert (found["x"], found["y"]) == pytest.approx((6 * b, 6 * a))
    assert (found["z"][0], found["k"]["w"]) == pytest.approx((3 * a * b, 2 * a * b))
    assert ag.multigrad_dict(lambda x, y=2.0: x * y)(a) == {"x": 2.0, "y": a}
    assert ag.grad(product).__name__ == "grad_of_<lambda>_wrt_argnum_0"
    with pytest.raises(IndexError):
        ag.grad(product, 2)(a, b)
    with pytest.raises(AssertionError):
        ag.grad(product, "x")


def test_containers_and_dtypes(rng: onp.random.Generator) -> None:
    w = rng.normal(size=(2, 3)).astype("f4")
    given = {"w": w, "b": [1.5, (2.5,)]}

    def f(p: Any) -> Any:
        assert ag.isinstance(p, dict)
        assert ag.isinstance(p["w"], onp.ndarray)
        assert ag.type(p["b"][0]) is onp.float64
        return np.sum(p["w"] ** 2) * p["b"][0] + p["b"][1][0] ** 2

    found = ag.grad(f)(given)
    assert found["w"].dtype == onp.float32
    onp.testing.assert_allclose(found["w"], 3 * w, rtol=1e-6)
    assert found["b"][1] == (5.0,)
    value, gradient = ag.value_and_grad(lambda x: np.sum(x * 0.5))(onp.arange(3))
    assert (value, gradient.tolist()) == (1.5, [0.5] * 3)
    gradient, aux = ag.grad_and_aux(lambda x: (x**2, {"twice": 2 * x, "name": "n"}))(3.0)
    assert (gradient, aux) == (6.0, {"twice": 6.0, "name": "n"})


def test_products_with_derivatives(rng: onp.random.Generator) -> None:
    x, v, M = rng.normal(size=3), rng.normal(size=3), rng.normal(size=(3, 3))
    f = lambda x: np.sum(np.sin(np.dot(M, x)) ** 2)  # noqa: E731
    g = lambda x: np.tanh(np.dot(M, x))  # noqa: E731
    H, J = ag.hessian(f)(x), ag.jacobian(g)(x)
    onp.testing.assert_allclose(J, (1 - g(x) ** 2)[:, None] * M, atol=1e-12)
    onp.testing.assert_allclose(H, H.T, atol=1e-10)
    hvp, gradient = ag.make_hvp(f)(x)
    onp.testing.assert_allclose(gradient, ag.grad(f)(x), atol=1e-12)
    for found in (hvp(v), ag.hessian_vector_product(f)(x, v), ag.hessian_tensor_product(f)(x, v)):
        onp.testing.assert_allclose(found, H @ v, atol=1e-9)
    onp.testing.assert_allclose(ag.tensor_jacobian_product(g)(x, v), v @ J, atol=1e-10)
    onp.testing.assert_allclose(ag.vector_jacobian_product(g)(x, v), v @ J, atol=1e-10)
    onp.testing.assert_allclose(ag.make_vjp(g)(x)[0](v), v @ J, atol=1e-10)
    value, tangent = ag.make_jvp(g)(x)(v)
    onp.testing.assert_allclose(value, g(x))
    for found in (tangent, ag.make_jvp_reversemode(g)(x)(v)):
        onp.testing.assert_allclose(found, J @ v, atol=1e-10)
    onp.testing.assert_allclose(ag.make_ggnvp(g)(x)(v), J.T @ (J @ v), atol=1e-9)
    onp.testing.assert_allclose(ag.deriv(np.sin)(x), onp.cos(x))
    assert ag.jacobian(lambda x: x[:0])(x).shape == (0, 3)


def test_complex_gradients_are_the_conjugates(rng: onp.random.Generator) -> None:
    z = complex(*rng.normal(size=2))
    h = 1e-6
    f = lambda z: np.real(np.exp(z) * np.conj(z) ** 2)  # noqa: E731
    by_real = (f(z + h) - f(z - h)) / (2 * h)
    by_imag = (f(z + 1j * h) - f(z - 1j * h)) / (2 * h)
    assert ag.grad(f)(z) == pytest.approx(by_real - 1j * by_imag, abs=1e-6)
    assert ag.grad(lambda z: np.abs(z) ** 2)(z) == pytest.approx(2 * onp.conj(z))
    assert ag.holomorphic_grad(lambda z: z**3)(z) == pytest.approx(3 * z**2)
    assert ag.deriv(lambda z: z**2)(z) == pytest.approx(2 * z * (1 + 1j))
    M, x, g = (rng.normal(size=s) + 1j * rng.normal(size=s) for s in ((3, 3), 3, 3))
    onp.testing.assert_allclose(ag.make_vjp(lambda x: np.dot(M, x))(x)[0](g), g @ M)
    onp.testing.assert_allclose(ag.make_jvp(lambda x: np.dot(M, x))(x)(g)[1], M @ g)
    check_grads(lambda x: np.sum(np.abs(np.fft.fft(x * x)) ** 2), modes=["fwd", "rev"])(0.3 * x)
    with pytest.raises(TypeError, match="one real number"):
        ag.grad(lambda z: z**2)(z)
    with pytest.raises(TypeError, match="real ones"):
        ag.elementwise_grad(lambda z: z**2)(z)
    with pytest.raises(ValueError, match="real ones"):
        ag.jacobian(lambda z: z**2)(z)
    with pytest.warns(UserWarning, match="not complex"):
        ag.holomorphic_grad(np.sin)(1.0)


@pytest.mark.parametrize("x", [1, onp.int64(2), "a", None, {"a": 3}, True])
def test_what_has_no_derivative_is_a_type_error(x: Any) -> None:
    with pytest.raises(TypeError, match="expected floating-point"):
        ag.grad(lambda x: 1.0)(x)


def test_errors_have_the_types_of_autograd(rng: onp.random.Generator) -> None:
    x = rng.normal(size=3)

    def write(x: Any) -> Any:
        x[0] = 1.0
        return np.sum(x)

    with pytest.raises(TypeError, match="expected one real number"):
        ag.grad(lambda x: 2 * x)(x)
    with pytest.raises(TypeError, match="float: got a tensor on the tape"):
        ag.grad(lambda x: float(x[0]))(x)
    with pytest.raises(TypeError, match="x\\[key\\] = v"):
        ag.grad(write)(x)
    with pytest.raises(NotImplementedError, match="normal"):
        ag.grad(lambda x: np.sum(np.random.normal(x)))(x)
    with pytest.raises(TypeError, match="expected arrays"):
        ag.jacobian(lambda x: x[0])((1.0, 2.0))
    with pytest.warns(UserWarning, match="Output seems independent of input"):
        assert ag.grad(lambda x: 3.0)(1.0) == 0.0
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ag.make_vjp(lambda x: 3.0)(1.0)
    assert [w.filename for w in told] == [__file__]


def test_lists_of_tensors(rng: onp.random.Generator) -> None:
    x, A = rng.normal(size=3), rng.normal(size=(3, 2))
    functions = (
        lambda x: np.array([x[0], 2 * x[1], 1.0]).sum() * x[2],
        lambda x: np.sum(np.array([[x[0], 1], [0, x[1] ** 2]]) ** 2),
        lambda x: np.sum([x[0], x[1] ** 2]) * np.mean([x[0], x[2]]),
        lambda x: np.linalg.norm([x[0], x[1], 3.0]),
        lambda x: np.dot([x[0], x[1], x[2] ** 2], x),
        lambda x: np.sum(np.r_[x[0], x, 1:3] ** 2),
        lambda x: np.sum(np.c_[x, x**2] * A),
        lambda x: np.sum(np.full((2, 3), x[0]) * x) + np.full_like(A, x[1]).sum(),
        lambda x: np.sum(np.make_diagonal(x, axis1=-1, axis2=-2) @ A),
        lambda x: np.where(x > 0, x, [x[1], 0.0, x[2]]).sum(),
        lambda x: np.sum(np.concatenate_args(0, x, x**2)) + np.add.reduce(x),
        lambda x: np.sum(np.asarray([x, x**2]) ** 2) + np.stack([x, x]).sum(),
        lambda x: A[np.argmax(x), 0] * x[0],
        lambda x: np.sum(np.maximum([x[0], x[1]], x[2])),
    )
    for f in functions:
        check_grads(f, modes=["fwd", "rev"], order=2)(x)
    assert np.where([True, False], [1, 2], [3, 4]) == [1, 4]
    assert type(np.where(True, 1.0, 2.0)) is float
    assert isinstance(np.where(onp.array([True]), 1.0, 2.0), onp.ndarray)
    with pytest.raises(ValueError, match="both x and y"):
        np.where(True, 1.0)
    assert np.pi == onp.pi
    assert np.polynomial is onp.polynomial
    assert np.float32 is onp.float32


def test_numpy_in_numpy_out(rng: onp.random.Generator) -> None:
    x = rng.normal(size=3)
    seen = []
    ag.grad(lambda x: (seen.append(x), np.sum(x * x))[1])(x)
    assert isinstance(seen[0], Tensor)
    for made in (np.sin(x), np.linalg.det(onp.diag(x)), np.array([x, x]), np.fft.fft(x)):
        assert isinstance(made, onp.ndarray | onp.generic)


def test_checkpoint_keeps_captured_parameters(rng: onp.random.Generator) -> None:
    w, x = rng.normal(size=2)

    def loss(w: Any) -> Any:
        return ag.checkpoint(lambda x: np.sin(x * w) * w)(x) * w

    check_grads(loss, modes=["rev"], order=2)(w)
    assert ag.checkpoint(lambda x: x**3)(2.0) == 8.0


def test_flatten_and_optimizers(rng: onp.random.Generator) -> None:
    target = {"w": rng.normal(size=(2, 2)), "b": [rng.normal(), (rng.normal(size=1),)]}
    flat, unflatten = flatten(target)
    assert flat.shape == (6,)
    for a, b in zip(flatten(unflatten(flat))[0], flat):
        assert a == b
    assert unflatten(flat)["w"].shape == (2, 2)
    check_grads(lambda v: np.sum(unflatten(v)["w"] ** 2) * v[0], modes=["rev"])(flat)
    check_grads(lambda p: np.sum(flatten(p)[0] ** 3), modes=["fwd", "rev"])(target)
    squared, back, _ = flatten_func(lambda p: {**p}, target)
    onp.testing.assert_array_equal(squared(flat), flat)
    assert back(flat)["b"][0] == target["b"][0]

    def distance(p: Any, i: int = 0) -> Any:
        return np.sum((flatten(p)[0] - flat) ** 2)

    start = unflatten(onp.zeros(6))
    for optimize, rate in ((sgd, 0.1), (rmsprop, 0.05), (adam, 0.1)):
        seen: list[tuple[Any, int, Any]] = []
        end = optimize(ag.grad(distance), start, report(seen), num_iters=100, step_size=rate)
        assert distance(end) < 0.05 * distance(start)
        assert [i for _, i, _ in seen] == list(range(100))


def report(seen: list[Any]) -> Any:
    return lambda *told: seen.append(told)


def test_combinations_are_checked(rng: onp.random.Generator) -> None:
    combo_check(np.sum, (0,), order=1)([rng.normal(size=(2, 3))], axis=[None, 0, 1])
    with pytest.raises(AssertionError):
        check_grads(lambda x: np.sum(np.where(x > 0, x, x)) * wrong(x))(rng.normal(size=2))


def wrong(x: Any) -> Any:
    """A constant as far as the tape goes, but not as far as differences see."""
    return x.detach().sum() if isinstance(x, Tensor) else np.sum(x)


WRAPPED = ("numpy", "numpy.fft", "numpy.linalg", "numpy.random", "scipy.special")


@pytest.mark.parametrize("name", WRAPPED)
def test_every_wrapped_function_is_there(name: str) -> None:
    pytest.importorskip("autograd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = importlib.import_module(f"autograd.{name}")
    ours = importlib.import_module(f"tensorgrad.compat.autograd.{name}")
    wrapped = [n for n, v in vars(theirs).items() if hasattr(v, "_is_autograd_primitive")]
    missing = [n for n in wrapped if not n.startswith("_") and not hasattr(ours, n)]
    assert set(missing) <= INTERNAL
    assert len(wrapped) > 10


INTERNAL = frozenset("array_from_args truncate_pad".split())
"""What autograd wraps for itself."""

NAMES = {
    "": """builtins checkpoint core deriv dict elementwise_grad grad grad_and_aux grad_named hessian
        hessian_tensor_product hessian_vector_product holomorphic_grad isinstance jacobian list
        extend make_ggnvp make_hvp make_jvp make_vjp multigrad_dict numpy primitive
        tensor_jacobian_product tracer tuple type value_and_grad vector_jacobian_product""",
    "builtins": "dict isinstance list tuple type",
    "extend": """Box JVPNode SparseObject VJPNode VSpace def_linear defjvp defjvp_argnum
        defjvp_argnums defvjp defvjp_argnum defvjp_argnums notrace_primitive primitive
        register_notrace vspace""",
    "test_util": "check_equivalent check_grads check_jvp check_vjp combo_check scalar_close",
    "misc": "const_graph flatten",
    "misc.flatten": "flatten flatten_func",
    "misc.fixed_points": "fixed_point",
    "misc.optimizers": "adam rmsprop sgd unflatten_optimizer",
    "scipy.integrate": "odeint",
    "scipy.linalg": "solve_banded solve_sylvester solve_triangular sqrtm",
    "scipy.signal": "convolve",
    "scipy.stats.norm": "cdf logcdf logpdf logsf pdf sf",
    "scipy.stats.t": "cdf logcdf logpdf pdf",
    "scipy.stats.beta": "cdf logpdf pdf",
    "scipy.stats.gamma": "cdf logpdf pdf",
    "scipy.stats.chi2": "cdf logpdf pdf",
    "scipy.stats.poisson": "cdf logpmf pmf",
    "scipy.stats.dirichlet": "logpdf pdf rvs",
    "scipy.stats.multivariate_normal": "entropy logpdf pdf",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there(name: str) -> None:
    ours = importlib.import_module(f"tensorgrad.compat.autograd.{name}".rstrip("."))
    assert [n for n in NAMES[name].split() if not hasattr(ours, n)] == []


def test_the_namespace_hangs_on_the_package() -> None:
    """`import autograd` alone is enough for `autograd.numpy`."""
    assert ag.numpy is np
    assert ag.grad(lambda x: ag.numpy.sin(x))(0.0) == 1.0


def test_a_jacobian_is_one_pass(rng: onp.random.Generator) -> None:
    """Of real and complex arguments, and through a rule that takes NumPy's arrays alone."""
    runs: list[Any] = []

    def f(x: Any) -> Any:
        runs.append(1)
        return np.stack([np.sum(x**2), np.real(x[0] * np.conj(x[1]) * 2j)])

    x = rng.normal(size=3)
    z = x + 1j * rng.normal(size=3)
    for at in (x, z):
        runs.clear()
        found = ag.jacobian(lambda x: np.real(f(x)))(at)
        assert len(runs) == 1
        for k in range(2):
            one = ag.grad(lambda x, k=k: np.real(f(x))[k])(at)
            onp.testing.assert_allclose(found[k], one, atol=1e-12)
    cube = ag.primitive(lambda x: onp.asarray(x) ** 3)
    defvjp(cube, lambda ans, x: lambda g: 3 * onp.asarray(x) ** 2 * onp.asarray(g))
    onp.testing.assert_allclose(ag.jacobian(cube)(x), onp.diag(3 * x**2))
    assert ag.jacobian(lambda x: x * 2)(1.5) == 2.0
