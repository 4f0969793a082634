"""Functions of matrices, and equations in matrices.

The derivative L(A, E) of f at A along E is the upper right block of f([[A, E], [0, A]]); its
adjoint in E is L(A^H, .) for every f with f(A^H) = f(A)^H (Higham, "Functions of matrices", 2008,
chapter 3). The second derivative is the derivative of that block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.primitive import Primitive, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.axes import flip
from tensorgrad.ops.complex import conj
from tensorgrad.ops.create import arange, zeros
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.linalg.matrices import adjoint, matrices
from tensorgrad.ops.linalg.solve import solve, squares, well
from tensorgrad.ops.products import matmul
from tensorgrad.ops.shape import all_batched, astype, broadcast_to

# -- block matrices ----------------------------------------------------------------------------


def _upper(a: Any, e: Any) -> Any:
    """[[A, E], [0, A]]."""
    nothing = zeros(a.shape, dtype=a.dtype, device=a.device)
    return concatenate([concatenate([a, e], -1), concatenate([nothing, a], -1)], -2)


def _corner(x: Any) -> Any:
    """The upper right block."""
    n = x.shape[-1] // 2
    return x[..., :n, n:]


# -- the exponential ---------------------------------------------------------------------------


def _second(a: Any, e: Any, f: Any) -> Any:
    """The second derivative of exp at A along E and F."""
    nothing = zeros(f.shape, dtype=f.dtype, device=f.device)
    both = concatenate([concatenate([f, nothing], -1), concatenate([nothing, f], -1)], -2)
    return _corner(moved_p.bind(_upper(a, e), both))


exp_p: Primitive = primitive(
    "expm",
    nin=1,
    spec=lambda a: a,
    vjp=(lambda ct, out, a: moved_p.bind(adjoint(a), ct),),
    jvp=(lambda t, out, a: moved_p.bind(a, t),),
    reads=((0,),),
    batch=lambda inputs, batched: exp_p.bind(*inputs),
    params=False,
)

moved_p: Primitive = primitive(
    "expm_frechet",
    nin=2,
    spec=lambda a, e: a,
    vjp=(
        lambda ct, out, a, e: _second(adjoint(a), adjoint(e), ct),
        lambda ct, out, a, e: moved_p.bind(adjoint(a), ct),
    ),
    jvp=(lambda t, out, a, e: _second(a, e, t), None),
    linear=(1,),
    reads=((0, 1), (0,)),
    batch=lambda inputs, batched: moved_p.bind(*all_batched(inputs, batched)),
    params=False,
)
"""The derivative of exp at A along E."""


def _wide(a: Any) -> None:
    """Refuse what SciPy would take for wider floats."""
    if a.dtype == np.float16:
        raise TypeError("LAPACK has no 16-bit floats")


def _each(name: str) -> Any:
    """SciPy's function of each matrix."""

    def oracle(a: Any) -> Any:
        import scipy.linalg

        _wide(a)
        found = np.empty(a.shape, a.dtype)
        for k in np.ndindex(a.shape[:-2]):
            found[k] = getattr(scipy.linalg, name)(a[k]) if a[k].size else a[k]
        return found

    return oracle


def _exponents(r: Any) -> Any:
    for args, _ in squares(r):
        yield (args[0] - 1,), {}
    yield (np.stack([r.normal(2, 2), 2 * r.normal(2, 2) - 4 * np.eye(2)]),), {}


@operation(oracle=_each("expm"), samples=_exponents, namespace="linalg")
def expm(A: Any) -> Any:
    """exp(A) = Σ A^k / k! of each matrix (..., n, n), by Padé approximants and squaring.

    >>> expm([[0.0, 1.0], [0.0, 0.0]])
    tensor([[1., 1.],
            [0., 1.]])
    """
    return exp_p.bind(matrices("expm", A, square=True))


# -- Sylvester's equation ----------------------------------------------------------------------


def _again(ct: Any, a: Any, b: Any) -> Any:
    return sylvester_p.bind(adjoint(a), adjoint(b), ct)


def _sylvester_batch(inputs: Sequence[Any], batched: Sequence[bool]) -> Any:
    return sylvester_p.bind(*all_batched(inputs, batched))


sylvester_p: Primitive = primitive(
    "solve_sylvester",
    nin=3,
    spec=lambda a, b, q: q,
    vjp=(
        lambda ct, out, a, b, q: -matmul(_again(ct, a, b), adjoint(out)),
        lambda ct, out, a, b, q: -matmul(adjoint(out), _again(ct, a, b)),
        lambda ct, out, a, b, q: _again(ct, a, b),
    ),
    jvp=(
        lambda t, out, a, b, q: -sylvester_p.bind(a, b, matmul(t, out)),
        lambda t, out, a, b, q: -sylvester_p.bind(a, b, matmul(out, t)),
        None,
    ),
    linear=(2,),
    reads=((0, 1, 3), (0, 1, 3), (0, 1)),
    batch=_sylvester_batch,
    params=False,
)
"""X of A X + X B = Q, for one dtype and equal leading axes."""


def _equations(r: Any) -> Any:
    for a, b in (((3, 3), (2, 2)), ((1, 1), (3, 3)), ((2, 2), (2, 2)), ((2, 3, 3), (2, 2)),
                 ((2, 2), (3, 1, 1)), ((0, 2, 2), (2, 2))):  # fmt: skip
        lead = np.broadcast_shapes(a[:-2], b[:-2])
        yield (well(r, *a), well(r, *b), r.normal(*lead, a[-1], b[-1])), {}
    yield (well(r, 3, 3).T, well(r, 4, 2, 2)[::2], r.normal(2, 3).T), {}
    yield (well(r, 3, 3) + 0.3j * r.normal(3, 3), well(r, 2, 2), r.normal(3, 2)), {}


def _equation_oracle(a: Any, b: Any, q: Any) -> Any:
    """By Kronecker products."""
    _wide(a)
    m, n = a.shape[-1], b.shape[-1]
    left = np.kron(a, np.eye(n))
    right = np.kron(np.eye(m), b.swapaxes(-1, -2))
    flat = np.broadcast_to(q, (*(left + right).shape[:-2], m, n))
    found = np.linalg.solve(left + right, flat.reshape(*flat.shape[:-2], m * n, 1))
    return found.reshape(flat.shape)


@operation(oracle=_equation_oracle, samples=_equations, namespace="linalg")
def solve_sylvester(a: Any, b: Any, q: Any) -> Any:
    """X of A X + X B = Q: (..., m, m), (..., n, n) and (..., m, n); leading axes broadcast.

    A and -B must have no eigenvalue in common. Bartels, Stewart, "Algorithm 432", 1972. On a GPU it
    raises `DeviceError`, as CuPy has no Schur decomposition.
    """
    given = (a, b, q)
    a, b, q = (operand(x, given, "solve_sylvester") for x in given)
    a, b = (matrices("solve_sylvester", x, square=True) for x in (a, b))
    q = matrices("solve_sylvester", q)
    need(q.shape[-2:] == (a.shape[-1], b.shape[-1]), "solve_sylvester", a=a, b=b, q=q,
         want="q of a's rows and b's columns", fix="q.mT", error=ShapeError)  # fmt: skip
    dtype = dtypes.result_type(a.dtype, b.dtype, q.dtype)
    lead = shapes.broadcast(a.shape[:-2], b.shape[:-2], q.shape[:-2], op="solve_sylvester")
    ready = [broadcast_to(astype(x, dtype, copy=False), (*lead, *x.shape[-2:])) for x in (a, b, q)]
    return sylvester_p.bind(*ready)


# -- root and logarithm ------------------------------------------------------------------------


def _root_ct(ct: Any, out: Any, a: Any) -> Any:
    """From X X = A: dX X + X dX = dA."""
    return sylvester_p.bind(adjoint(out), adjoint(out), ct)


root_p: Primitive = primitive(
    "sqrtm",
    nin=1,
    spec=lambda a: a,
    vjp=(_root_ct,),
    jvp=(lambda t, out, a: sylvester_p.bind(out, out, t),),
    reads=((1,),),
    batch=lambda inputs, batched: root_p.bind(*inputs),
    params=False,
)

log_p: Primitive = primitive(
    "logm",
    nin=1,
    spec=lambda a: a,
    vjp=(lambda ct, out, a: _corner(log_p.bind(_upper(adjoint(a), ct))),),
    jvp=(lambda t, out, a: _corner(log_p.bind(_upper(a, t))),),
    reads=((0,),),
    batch=lambda inputs, batched: log_p.bind(*inputs),
    params=False,
)


def _definite(r: Any) -> Any:
    """Matrices that have a real root: rather, also sorted, of positive eigenvalues."""
    for shape in ((3, 3), (1, 1), (2, 2), (2, 3, 3), (0, 2, 2), (1, 2, 2, 2)):
        yield (r.normal(*shape) * 0.1 + 2 * np.eye(shape[-1]),), {}
    yield (r.normal(3, 3).T * 0.1 + np.eye(3),), {}
    yield (r.normal(6, 3, 3)[::2] * 0.1 + np.eye(3) * 2,), {}
    yield (r.normal(3, 3) * 0.1 + 0.1j * r.normal(3, 3) + np.eye(3),), {}


@operation(oracle=_each("sqrtm"), samples=_definite, namespace="linalg")
def sqrtm(A: Any) -> Any:
    """X of X X = A, of the matrices (..., n, n) the principal one; of A's dtype.

    A real matrix with a complex root raises `ValueError`: it needs a complex dtype. On a GPU it
    raises `DeviceError`, as CuPy has no Schur decomposition.
    """
    return root_p.bind(matrices("sqrtm", A, square=True))


@operation(oracle=_each("logm"), samples=_definite, namespace="linalg")
def logm(A: Any) -> Any:
    """X of expm(X) = A, of the matrices (..., n, n) the principal one; of A's dtype.

    A real matrix with a complex logarithm raises `ValueError`: it needs a complex dtype. On a GPU
    it raises `DeviceError`, as CuPy has no Schur decomposition.
    """
    return log_p.bind(matrices("logm", A, square=True))


# -- Toeplitz matrices -------------------------------------------------------------------------


def _diagonals(r: Any) -> Any:
    for m, n in ((3, 3), (4, 2), (2, 4), (1, 1), (1, 3), (3, 1)):
        yield (r.normal(m), r.normal(n)), {}
    yield (r.normal(3),), {}
    yield (r.normal(6)[::2], r.normal(4, 2)[:, 1]), {}
    yield (r.normal(3) + 1j * r.normal(3),), {}


def _toeplitz_oracle(c: Any, r: Any = None) -> Any:
    from scipy.linalg import toeplitz as scipys

    return scipys(c, r)


@operation(oracle=_toeplitz_oracle, samples=_diagonals, namespace="linalg")
def toeplitz(c: Any, r: Any = None) -> Any:
    """The matrix with equal entries on each diagonal: first column c, first row (c[0], r[1:]).

    Without r it is Hermitian: r = conj(c).

    >>> toeplitz([1.0, 2.0], [1.0, 5.0])
    tensor([[1., 5.],
            [2., 1.]])
    """
    c = operand(c, () if r is None else (r,), "toeplitz")
    r = conj(c) if r is None else operand(r, (c,), "toeplitz")
    need(c.ndim == r.ndim == 1, "toeplitz", c=c, r=r, want="vectors", fix="tg.vmap for stacks")
    values = concatenate([flip(r[1:]), c])
    m, n = c.shape[0], r.shape[0]
    rows, columns = arange(m, device=c.device), arange(n, device=c.device)
    return values[rows[:, None] - columns + (n - 1)]


def _toeplitz_systems(r: Any) -> Any:
    def column(n: int) -> Any:
        return r.normal(n) * 0.3 + np.eye(n)[0] * 3

    for n, b in ((3, (3,)), (3, (3, 2)), (1, (1,)), (4, (4,)), (2, (2, 1))):
        yield (column(n), r.normal(*b)), {}
    yield ((column(3), r.normal(3) * 0.3), r.normal(3)), {}
    yield ((column(3), r.normal(3) * 0.3), r.normal(2, 3).T), {}
    yield ((column(3) + 0.3j * r.normal(3), r.normal(3) * 0.3), r.normal(3)), {}


def _toeplitz_solution(c_or_cr: Any, b: Any) -> Any:
    from scipy.linalg import toeplitz as scipys

    _wide(b)
    pair = c_or_cr if isinstance(c_or_cr, tuple | list) else (c_or_cr,)
    return np.linalg.solve(scipys(*pair), b)


@operation(oracle=_toeplitz_solution, samples=_toeplitz_systems, namespace="linalg")
def solve_toeplitz(c_or_cr: Any, b: Any) -> Any:
    """x of T x = b, T = toeplitz(c) or toeplitz(c, r), for (n,) or (n, k): a dense solution."""
    pair = c_or_cr if isinstance(c_or_cr, tuple | list) else (c_or_cr,)
    return solve(toeplitz(*pair), b)
