"""Products, powers and traces of matrices, as `numpy.linalg` has them.

Where it has a function of the same name as NumPy itself (cross, diagonal, outer, trace), this one
is the array standard's: it works on the last axes.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.ops import diagonal as plain
from tensorgrad.ops import vectors
from tensorgrad.ops.axes import matrices as layouts
from tensorgrad.ops.create import eye, zeros
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.linalg.solve import inv, squares
from tensorgrad.ops.products import matmul
from tensorgrad.ops.shape import astype, broadcast_to, reshape, several, whole

# -- powers and chains -------------------------------------------------------------------------


def _powers(r: Any) -> Any:
    for k, (args, _) in enumerate(squares(r)):
        yield (args[0], (2, 3, 1, -1, 5, -3, 2, 4, 7, 2, 3)[k]), {}
    yield (r.integers(-3, 4, 3, 3), 3), {}


@operation(
    numpy="linalg.matrix_power",
    oracle="linalg.matrix_power",
    samples=_powers,
    namespace="linalg",
)
def matrix_power(a: Any, n: Any) -> Any:
    """A^n for a whole n and matrices (..., m, m), by squaring; A^-1 is raised where n < 0.

    A^0 is the identity, a constant. Raises `TypeError` where n is no whole number.
    """
    a = operand(a, (), "matrix_power")
    need(a.ndim >= 2 and a.shape[-1] == a.shape[-2], "matrix_power", a=a, want="square matrices",
         fix="a.mT @ a", error=ShapeError)  # fmt: skip
    n = whole("matrix_power", n)
    if n == 0:
        return broadcast_to(eye(a.shape[-1], dtype=a.dtype, device=a.device), a.shape)
    if n < 0:
        a, n = inv(a), -n
    power, found = a, None
    while True:
        n, odd = divmod(n, 2)
        if odd:
            found = power if found is None else matmul(found, power)
        if not n:
            return +found if found is a else found
        power = matmul(power, power)


@lru_cache(maxsize=256)
def _split(sizes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Where to split each chain i..j of matrices sizes[i] x sizes[i + 1] for the fewest products.

    Cormen et al., "Introduction to algorithms", 3rd edition, 15.2.
    """
    count = len(sizes) - 1
    cost = [[0] * count for _ in range(count)]
    place = [[0] * count for _ in range(count)]
    for width in range(1, count):
        for i in range(count - width):
            j = i + width
            costs = [
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            ]
            cost[i][j], place[i][j] = min(costs)
    return tuple(map(tuple, place))


def _chains(r: Any) -> Any:
    for sizes in ((2, 3), (3, 4, 2), (2, 3, 4, 2), (4, 1, 3, 2), (1, 5, 1, 4, 2), (2, 0, 3)):
        found = [r.normal(m, n) for m, n in pairwise(sizes)]
        yield ([*found, r.normal(sizes[-1], 2)],), {}
    yield ([r.normal(3), r.normal(3, 2), r.normal(2, 4)],), {}
    yield ([r.normal(3), r.normal(3, 2), r.normal(2)],), {}
    yield ([r.normal(3, 2).T, r.normal(6, 3)[::2, ::-1], r.normal(3) + 1j * r.normal(3)],), {}


@operation(
    numpy="linalg.multi_dot",
    oracle="linalg.multi_dot",
    samples=_chains,
    namespace="linalg",
)
def multi_dot(arrays: Any) -> Any:
    """The product of two matrices or more, in the order of the fewest multiplications.

    The first may be a row, the last a column, given as vectors.
    """
    arrays = several("multi_dot", arrays, "[a, b, c]")
    found = [operand(x, arrays, "multi_dot") for x in arrays]
    need(len(found) >= 2, "multi_dot", arrays=len(found), want="two arrays at least",
         fix="arrays[0]", error=ValueError)  # fmt: skip
    need(all(x.ndim == 2 for x in found[1:-1]) and {found[0].ndim, found[-1].ndim} <= {1, 2},
         "multi_dot", axes=[x.ndim for x in found], want="matrices, vectors at the ends alone",
         fix="matmul for stacks")  # fmt: skip
    rows = [1 if x.ndim == 1 and not k else x.shape[0] for k, x in enumerate(found)]
    last = found[-1].shape[1] if found[-1].ndim == 2 else 1
    place = _split((*rows, last))

    def product(i: int, j: int) -> Any:
        return found[i] if i == j else matmul(product(i, place[i][j]), product(place[i][j] + 1, j))

    return product(0, len(found) - 1)


# -- cross products ----------------------------------------------------------------------------


def _crossed(r: Any) -> Any:
    for a, b in (((3,), (3,)), ((2, 3), (2, 3)), ((2, 3), (3,)), ((4, 1, 3), (2, 3)),
                 ((0, 3), (3,)), ((1, 3), (5, 3))):  # fmt: skip
        yield (r.normal(*a), r.normal(*b)), {}
    yield (r.normal(3, 2), r.normal(3, 2)), {"axis": 0}
    yield (r.normal(3, 4).T, r.normal(8, 3)[::2]), {"axis": -1}
    yield (r.normal(2, 3) + 1j * r.normal(2, 3), r.normal(2, 3) - 1j * r.normal(2, 3)), {}


@operation(numpy="linalg.cross", oracle="linalg.cross", samples=_crossed, namespace="linalg")
def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """The cross product of the vectors of 3 on one axis; the other axes broadcast.

    >>> cross([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    tensor([0., 0., 1.])
    """
    x1, x2 = operand(x1, (x2,), "cross"), operand(x2, (x1,), "cross")
    one, two = (shapes.axis_index(axis, x.ndim, "cross") for x in (x1, x2))
    need(x1.shape[one] == x2.shape[two] == 3, "cross", x1=x1, x2=x2, axis=axis,
         want="a length of 3 on that axis", fix="axis=")  # fmt: skip
    return vectors.cross(x1, x2, axis=axis)


# -- the array standard's own ------------------------------------------------------------------


def _diagonals(r: Any) -> Any:
    yield from layouts(r)
    yield (r.normal(3, 4),), {"offset": 1}
    yield (r.normal(2, 3, 4),), {"offset": -2}
    yield (r.normal(3, 4),), {"offset": 7}


@operation(
    numpy="linalg.diagonal",
    oracle="linalg.diagonal",
    samples=_diagonals,
    namespace="linalg",
)
def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """The diagonal of each matrix (..., m, n), as the last axis; `offset` > 0 lies above it."""
    return plain.diagonal(x, offset, -2, -1)


@operation(numpy="linalg.trace", oracle="linalg.trace", samples=_diagonals, namespace="linalg")
def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """The sum of the diagonal of each matrix (..., m, n)."""
    return plain.trace(x, offset, -2, -1, dtype)


def _pairs(r: Any) -> Any:
    for m, n in ((3, 2), (1, 1), (0, 3), (3, 0), (4, 4), (1, 3)):
        yield (r.normal(m), r.normal(n)), {}
    yield (r.normal(6)[::2], r.normal(4, 2)[:, 1]), {}
    yield (r.normal(3) + 1j * r.normal(3), r.normal(2) - 1j * r.normal(2)), {}


@operation(numpy="linalg.outer", oracle="linalg.outer", samples=_pairs, namespace="linalg")
def outer(x1: Any, x2: Any, /) -> Any:
    """x1[i] x2[j] for two vectors; raises `ShapeError` for anything else."""
    x1, x2 = operand(x1, (x2,), "outer"), operand(x2, (x1,), "outer")
    need(x1.ndim == x2.ndim == 1, "outer", x1=x1, x2=x2, want="two vectors",
         fix="np.outer, which flattens")  # fmt: skip
    return reshape(x1, (x1.size, 1)) * x2


def _blocks(r: Any) -> Any:
    for sizes in (((2, 3),), ((2, 2), (1, 3)), ((2,), (3, 1)), ((), (2, 2), (3,)), ((0, 2), (1, 1)),
                  ((1, 1), (1, 1), (1, 1))):  # fmt: skip
        yield tuple(r.normal(*s) for s in sizes), {}
    yield (r.normal(2, 3).T, r.normal(4, 2)[::2]), {}
    yield (r.normal(2, 2) + 1j * r.normal(2, 2), r.normal(1, 2)), {}


def _blocks_oracle(*arrs: Any) -> Any:
    from scipy.linalg import block_diag as scipys

    return scipys(*arrs)


@operation(oracle=_blocks_oracle, samples=_blocks, namespace="linalg")
def block_diag(*arrs: Any) -> Any:
    """The matrix with these blocks on its diagonal and 0 elsewhere; a vector is a row.

    Leading axes broadcast. Without arguments an empty row, as SciPy has it.
    """
    found = [operand(x, arrs, "block_diag") for x in arrs]
    if not found:
        return zeros((1, 0))
    found = [reshape(x, (1,) * (2 - x.ndim) + x.shape) if x.ndim < 2 else x for x in found]
    dtype = dtypes.result_type(*[x.dtype for x in found])
    lead: shapes.Shape = ()
    for x in found:
        lead = shapes.broadcast(lead, x.shape[:-2], op="block_diag")
    width, before, rows = sum(x.shape[-1] for x in found), 0, []
    for x in found:
        m, n = x.shape[-2:]
        row = broadcast_to(astype(x, dtype, copy=False), (*lead, m, n))
        sides = [zeros((*lead, m, k), dtype=dtype, device=x.device)
                 for k in (before, width - before - n)]  # fmt: skip
        rows.append(concatenate([sides[0], row, sides[1]], -1))
        before += n
    return concatenate(rows, -2)
