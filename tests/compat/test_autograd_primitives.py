"""User operations under autograd's names: rules backward and forward, containers, refusals."""

from __future__ import annotations

from typing import Any

import numpy as onp
import pytest

import tensorgrad as tg
import tensorgrad.compat.autograd as ag
import tensorgrad.compat.autograd.numpy as np
from tensorgrad.compat.autograd.extend import (
    JVPNode,
    SparseObject,
    VJPNode,
    def_linear,
    defjvp,
    defjvp_argnums,
    defvjp,
    defvjp_argnum,
    defvjp_argnums,
    notrace_primitive,
    primitive,
    register_notrace,
    vspace,
)
from tensorgrad.compat.autograd.misc.fixed_points import fixed_point
from tensorgrad.compat.autograd.test_util import check_grads
from tensorgrad.compat.autograd.tracer import Box, getval, isbox


@primitive
def logsumexp(x: Any) -> Any:
    """The example of the documentation: a function that sees NumPy's arrays alone."""
    assert isinstance(x, onp.ndarray)
    peak = onp.max(x)
    return peak + onp.log(onp.sum(onp.exp(x - peak)))


def logsumexp_vjp(ans: Any, x: Any) -> Any:
    shape = x.shape
    return lambda g: np.full(shape, g) * np.exp(x - np.full(shape, ans))


defvjp(logsumexp, logsumexp_vjp)
defjvp(logsumexp, lambda g, ans, x: np.sum(g * np.exp(x - ans)))


def test_the_example_of_the_documentation(rng: onp.random.Generator) -> None:
    x = rng.normal(size=4)
    onp.testing.assert_allclose(ag.grad(logsumexp)(x), onp.exp(x) / onp.sum(onp.exp(x)))
    check_grads(logsumexp, modes=["fwd", "rev"], order=2)(x)
    check_grads(lambda x: logsumexp(x**2) * np.sum(x), modes=["rev"], order=3)(x)
    assert type(logsumexp(x)) is onp.float64
    assert logsumexp.__name__ == "logsumexp"


def test_first_order_rules_see_arrays(rng: onp.random.Generator) -> None:
    kinds = []

    @primitive
    def cube(x: Any) -> Any:
        return x**3

    def rule(ans: Any, x: Any) -> Any:
        kinds.append((type(ans), type(x)))
        return lambda g: 3 * x**2 * g

    defvjp(cube, rule)
    ag.grad(lambda x: np.sum(cube(x)))(rng.normal(size=2))
    assert kinds == [(onp.ndarray, onp.ndarray)]
    ag.grad(ag.grad(cube))(2.0)
    assert kinds[1] == (tg.Tensor, tg.Tensor)


def test_rules_by_argument_number(rng: onp.random.Generator) -> None:
    x, y, z = rng.normal(size=(3, 2))
    triple = lambda x, y, z: x * y + onp.sin(z)  # noqa: E731
    one, several, chosen = primitive(triple), primitive(triple), primitive(triple)

    def by_number(k: int, ans: Any, args: Any, kwargs: Any) -> Any:
        x, y, z = args
        return lambda g: g * (y, x, np.cos(z))[k]

    def at_once(argnums: Any, ans: Any, args: Any, kwargs: Any) -> Any:
        return lambda g: [by_number(k, ans, args, kwargs)(g) for k in argnums]

    defvjp_argnum(one, by_number)
    defvjp_argnums(several, at_once)
    defvjp(chosen, None, lambda ans, x, y, z: lambda g: g * np.cos(z), argnums=(0, 2))
    for f in (one, several):
        check_grads(lambda *a, f=f: np.sum(f(*a)), (0, 1, 2), modes=["rev"])(x, y, z)
    found = ag.grad(lambda *a: np.sum(chosen(*a)), (0, 2))(x, y, z)
    onp.testing.assert_array_equal(found[0], [0, 0])
    onp.testing.assert_allclose(found[1], onp.cos(z))
    with pytest.raises(NotImplementedError, match="VJP rule"):
        ag.grad(lambda y: np.sum(chosen(x, y, z)))(y)


def test_forward_rules(rng: onp.random.Generator) -> None:
    x, y = rng.normal(size=(2, 3))
    product, mixed = primitive(lambda x, y: x * y), primitive(lambda x, y: x + 2 * y)
    defjvp(product, "same", lambda g, ans, x, y: x * g)
    onp.testing.assert_allclose(ag.make_jvp(product, (0, 1))(x, y)((y, x))[1], y * y + x * x)
    def_linear(mixed)
    with pytest.raises(NotImplementedError, match="VJP rule"):
        ag.grad(lambda x: np.sum(mixed(x, y)))(x)
    defjvp_argnums(mixed, lambda argnums, gs, ans, args, kwargs: gs[0] * (1, 2)[argnums[0]])
    onp.testing.assert_allclose(ag.make_jvp(mixed, 1)(x, y)(x)[1], 2 * x)
    with pytest.raises(NotImplementedError, match="JVP rule"):
        ag.make_jvp(primitive(lambda x: x))(x)(x)
    partly = primitive(lambda x, y: x * y)
    defjvp(partly, None)
    onp.testing.assert_array_equal(ag.make_jvp(partly)(x, y)(x)[1], onp.zeros(3))
    with pytest.raises(NotImplementedError, match="argument 1"):
        ag.make_jvp(partly, 1)(x, y)(x)


@primitive
def parts(pair: Any, scale: float) -> Any:
    return {"sum": pair[0] + pair[1], "product": scale * pair[0] * pair[1]}


def parts_vjp(ans: Any, pair: Any, scale: float) -> Any:
    def pull(g: Any) -> Any:
        s, p = g["sum"], g["product"] * scale
        return (s + p * pair[1], s + p * pair[0])

    return pull


defvjp(parts, parts_vjp)
defjvp(parts, lambda g, ans, p, k: {"sum": g[0] + g[1], "product": k * (g[0] * p[1] + p[0] * g[1])})


def test_containers_in_and_out(rng: onp.random.Generator) -> None:
    a, b = rng.normal(size=(2, 3))

    def f(a: Any, b: Any) -> Any:
        found = parts(ag.tuple((a, b)), 2.0)
        return np.sum(found["sum"] ** 2) + np.sum(np.sin(found["product"]))

    check_grads(f, (0, 1), modes=["fwd", "rev"], order=2)(a, b)
    check_grads(lambda a: np.sum(parts((a, b), 2.0)["product"] * a), modes=["rev"])(a)


def test_complex_rules_are_autograds(rng: onp.random.Generator) -> None:
    z = complex(*rng.normal(size=2))
    square = primitive(lambda z: z**2)
    defvjp(square, lambda ans, z: lambda g: 2 * z * g)
    f = lambda z, g: np.real(np.exp(g(z)))  # noqa: E731
    expected = ag.grad(lambda z: f(z, lambda z: z * z))(z)
    assert ag.grad(lambda z: f(z, square))(z) == pytest.approx(expected)
    second = lambda g: ag.grad(lambda z: np.abs(ag.grad(lambda z: f(z, g))(z)) ** 2)(z)  # noqa: E731
    assert second(square) == pytest.approx(second(lambda z: z * z))


def test_under_the_transforms_of_tensorgrad(rng: onp.random.Generator) -> None:
    x = rng.normal(size=(5, 4))
    onp.testing.assert_allclose(tg.vmap(tg.grad(logsumexp))(x), ag.elementwise_grad(rows)(x))
    onp.testing.assert_allclose(tg.jvp(logsumexp, (x[0],), (x[1],))[1],
                                x[1] @ ag.grad(logsumexp)(x[0]))  # fmt: skip
    w = tg.tensor(x[0], requires_grad=True)
    (logsumexp(w * 2.0) * w.sum()).backward()
    expected = ag.grad(lambda w: logsumexp(w * 2.0) * np.sum(w))(x[0])
    onp.testing.assert_allclose(w.grad.numpy(), expected)


def rows(x: Any) -> Any:
    return np.stack([logsumexp(row) for row in x])


def test_refusals(rng: onp.random.Generator) -> None:
    x = rng.normal(size=3)
    identity = primitive(lambda x, *, y=0.0: x + y)
    defvjp(identity, lambda ans, x, **k: lambda g: g)
    with pytest.raises(TypeError, match="by position"):
        ag.grad(lambda x: np.sum(identity(x, y=x)))(x)
    with pytest.raises(TypeError, match="captured"):
        ag.grad(lambda x: np.sum(captures(x)(2.0 * x)))(x)
    with pytest.raises(TypeError, match="what `primitive` returned"):
        defvjp(np.sin, lambda ans, x: lambda g: g)
    with pytest.raises(TypeError, match="expected a function"):
        defvjp(identity, "same")
    with pytest.raises(TypeError, match="expected a function"):
        defjvp(identity, "linear")


def captures(y: Any) -> Any:
    found = primitive(lambda x: x * y)
    defvjp(found, lambda ans, x: lambda g: g * y)
    return found


def test_constants_and_boxes(rng: onp.random.Generator) -> None:
    x = rng.normal(size=3)
    count = notrace_primitive(lambda v: float(onp.sum(v > 0)))
    onp.testing.assert_allclose(
        ag.grad(lambda x: count(x) * np.sum(x))(x), onp.full(3, onp.sum(x > 0))
    )

    def f(x: Any) -> Any:
        assert isbox(x)
        assert isinstance(x, Box)
        assert isinstance(getval(x), onp.ndarray)
        return np.sum(x) * getval(x)[0]

    onp.testing.assert_allclose(ag.grad(f)(x), onp.full(3, x[0]))


def test_vector_spaces(rng: onp.random.Generator) -> None:
    value = {"a": rng.normal(size=2), "b": (1.0, 1j * rng.normal(size=1))}
    space = vspace(value)
    assert space.size == 5
    assert space == vspace(space.randn())
    assert space != vspace({"a": 1.0})
    basis = list(space.standard_basis())
    assert len(basis) == 5
    assert space.inner_prod(basis[4], basis[4]) == 1.0
    total = space.add(value, space.scalar_mul(space.ones(), 2.0))
    onp.testing.assert_array_equal(total["a"], value["a"] + 2)
    assert space.covector(basis[4])["b"][1] == -1j
    assert space.inner_prod(space.zeros(), value) == 0
    with pytest.raises(TypeError, match="vspace"):
        vspace(3)


def test_fixed_points(rng: onp.random.Generator) -> None:
    a = rng.uniform(1, 4)

    def newton_sqrt(a: Any) -> Any:
        return lambda x: 0.5 * (x + a / x)

    def root(a: Any) -> Any:
        return fixed_point(newton_sqrt, a, 1.0, lambda x, y: abs(x - y), 1e-10)

    assert root(a) == pytest.approx(a**0.5)
    assert ag.grad(root)(a) == pytest.approx(0.5 * a**-0.5)
    assert ag.grad(ag.grad(root))(a) == pytest.approx(-0.25 * a**-1.5)


def test_a_sparse_cotangent_is_added_where_it_belongs(rng: onp.random.Generator) -> None:
    @primitive
    def take(x: Any, i: int) -> Any:
        return x[i]

    def rule(ans: Any, x: Any, i: int) -> Any:
        def pull(g: Any) -> SparseObject:
            def mut_add(total: Any) -> Any:
                total[i] += g
                return total

            return SparseObject(vspace(x), mut_add)

        return pull

    defvjp(take, rule, None)
    x = rng.normal(size=3)
    onp.testing.assert_allclose(
        ag.grad(lambda x: take(x, 1) ** 3 + np.sum(x))(x), [1, 1 + 3 * x[1] ** 2, 1]
    )
    hessian = ag.hessian(lambda x: take(x**2, 1) ** 2)(x)
    onp.testing.assert_allclose(hessian, onp.diag([0, 12 * x[1] ** 2, 0]), atol=1e-14)


def test_a_primitive_without_traces_is_a_constant(rng: onp.random.Generator) -> None:
    count = primitive(lambda x: onp.sum(x > 0) * 1.0)
    register_notrace(VJPNode, count)
    register_notrace(JVPNode, count)
    x = rng.normal(size=4)
    f = lambda x: count(x) * np.sum(x)  # noqa: E731
    onp.testing.assert_allclose(ag.grad(f)(x), onp.full(4, onp.sum(x > 0)))
    assert ag.make_jvp(f)(x)(onp.ones(4))[1] == 4 * onp.sum(x > 0)
