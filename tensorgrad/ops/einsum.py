"""Einstein sums: any spelling becomes a chain of products of two labelled tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.complex import conj
from tensorgrad.ops.shape import astype

Labels = tuple[int, ...]
Term = tuple[Any, Labels]


# -- the product of two ------------------------------------------------------------------------


def _contract_spec(x: Spec, y: Spec, *, left: Labels, right: Labels, result: Labels) -> Spec:
    sizes = dict(zip(left + right, x.shape + y.shape))
    return Spec(tuple(sizes[k] for k in result), dtypes.result_type(x.dtype, y.dtype))


def _contract_batch(
    inputs: Sequence[Any],
    batched: Sequence[bool],
    *,
    left: Labels,
    right: Labels,
    result: Labels,
) -> Any:
    new = (max((*left, *right), default=0) + 1,)
    return contract_p.bind(
        *inputs,
        left=new + left if batched[0] else left,
        right=new + right if batched[1] else right,
        result=new + result,
    )


contract_p: Primitive = primitive(
    "contract",
    nin=2,
    spec=_contract_spec,
    vjp=(
        lambda ct, out, x, y, *, left, right, result: contract_p.bind(
            ct, conj(y), left=result, right=right, result=left
        ),
        lambda ct, out, x, y, *, left, right, result: contract_p.bind(
            ct, conj(x), left=result, right=left, result=right
        ),
    ),
    linear=(0, 1),
    reads=((1,), (0,)),
    batch=_contract_batch,
)
"""Σ over the labels that `result` lacks; every label is in two of left, right and result."""


# -- labels ------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _parse(subscripts: str, ranks: tuple[int, ...]) -> tuple[tuple[Labels, ...], Labels]:
    """The labels of each operand and of the result, as numbers; the ellipsis axes come first."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    legal = all(c.isalpha() or c in ",.->" for c in text) and text.count("->") <= 1
    need(
        legal and text.count(".") == 3 * text.count("..."),
        "einsum",
        subscripts=subscripts,
        want="letters, commas, one '...' per term and at most one '->'",
        fix='"ij,jk->ik"',
    )
    need(
        len(terms) == len(ranks),
        "einsum",
        subscripts=subscripts,
        operands=len(ranks),
        want="one term per operand",
        fix=f'"{",".join(["ij"] * max(len(ranks), 1))}"',
    )
    spread = max([r - len(t) + 3 for t, r in zip(terms, ranks) if "..." in t], default=0)
    labels = tuple(_term(t, r, spread) for t, r in zip(terms, ranks))
    if arrow:
        result = _term(right, None, spread if "..." in right else 0)
        need(
            "..." in right or not spread,
            "einsum",
            subscripts=subscripts,
            want="'...' in the result too",
            fix='"...ij->...ji"',
        )
    else:
        names = [c for t in terms for c in t if c != "."]
        once = sorted(c for c in set(names) if names.count(c) == 1)
        result = tuple(range(-spread, 0)) + tuple(map(ord, once))
    return labels, result


def _term(term: str, rank: int | None, spread: int) -> Labels:
    """The labels of one term: letters by their code, the ellipsis axes -spread .. -1."""
    if "..." not in term:
        found = tuple(map(ord, term))
    else:
        before, _, after = term.partition("...")
        width = spread if rank is None else rank - len(before) - len(after)
        found = (*map(ord, before), *range(-width, 0), *map(ord, after))
    need(
        rank is None or len(found) == rank,
        "einsum",
        term=term,
        axes=rank,
        want="one letter per axis",
        fix="'...' for the axes that are not named",
    )
    return found


def _sublists(arguments: Sequence[Any]) -> tuple[list[Any], tuple[Labels, ...], Labels]:
    """The form einsum(x, [0, 1], y, [1, 2], [0, 2]); an Ellipsis may stand in a list."""
    count = len(arguments) // 2
    operands = [operand(x, (), "einsum") for x in arguments[: 2 * count : 2]]

    def spelled(sub: Any) -> str:
        # Letters in the order of the numbers, so that the implicit result is in NumPy's order.
        return "".join("..." if k is Ellipsis else chr(0x4E00 + int(k)) for k in sub)

    text = ",".join(spelled(sub) for sub in arguments[1 : 2 * count : 2])
    if len(arguments) % 2:
        text += "->" + spelled(arguments[-1])
    labels, result = _parse(text, tuple(x.ndim for x in operands))
    return operands, labels, result


# -- normal form -------------------------------------------------------------------------------


def _diagonal(x: Any, labels: Labels) -> Term:
    """x with every repeated label taken along its diagonal."""
    for label in [k for k in dict.fromkeys(labels) if labels.count(k) > 1]:
        axes = [k for k, one in enumerate(labels) if one == label]
        size, count = x.shape[axes[0]], len(axes)
        need(
            all(x.shape[k] == size for k in axes),
            "einsum",
            x=x,
            axes=tuple(axes),
            want="equal lengths on axes of one letter",
            fix="two letters",
        )
        rest = [k for k in range(x.ndim) if k not in axes]
        lengths = tuple(x.shape[k] for k in rest)
        flat = x.transpose((*rest, *axes)).reshape((*lengths, size**count))
        step = sum(size**k for k in range(count))
        x = flat[..., :: step or 1]
        labels = (*(labels[k] for k in rest), label)
    return x, labels


def _extents(terms: Sequence[Term]) -> dict[int, int]:
    """The length of every label; a length of 1 is broadcast."""
    sizes: dict[int, int] = {}
    for x, labels in terms:
        for label, size in zip(labels, x.shape):
            known = sizes.get(label, 1)
            if known != 1 and size not in (1, known):
                raise ShapeError(
                    f"einsum: got lengths {known} and {size} for {_name(label)}, expected one "
                    "length; try another letter for one of the axes"
                )
            sizes[label] = size if known == 1 else known
    return sizes


def _name(label: int) -> str:
    if label >= 0x4E00:
        return f"index {label - 0x4E00}"
    return f"index {chr(label)!r}" if label >= 0 else "an axis of '...'"


def _normal(terms: Sequence[Term], result: Labels) -> list[Term]:
    """Every operand without diagonals, broadcast axes and labels that nothing else has."""
    terms = [_diagonal(x, labels) for x, labels in terms]
    sizes = _extents(terms)
    need(
        set(result) <= set(sizes) and len(set(result)) == len(result),
        "einsum",
        result="".join(chr(k) for k in result if k >= 0),
        want="each letter of the result once, and in an operand",
        fix="dropping it",
    )
    found: list[Term] = []
    for k, (x, labels) in enumerate(terms):
        elsewhere = {label for j, (_, other) in enumerate(terms) if j != k for label in other}
        narrow = [
            n
            for n, label in enumerate(labels)
            if x.shape[n] == 1 and sizes[label] != 1 and label in elsewhere
        ]
        kept = [n for n in range(x.ndim) if n not in narrow]
        if narrow:
            x = x.reshape(tuple(x.shape[n] for n in kept))
        found.append((x, tuple(labels[n] for n in kept)))
    return [_lone(found, k, result) for k in range(len(found))]


def _lone(terms: Sequence[Term], k: int, result: Labels) -> Term:
    """Term k summed over the labels that are in nothing else."""
    x, labels = terms[k]
    used = set(result).union(*(other for j, (_, other) in enumerate(terms) if j != k))
    lone = tuple(n for n, label in enumerate(labels) if label not in used)
    if lone and dtypes.is_inexact(x.dtype):
        x = x.sum(axis=lone)
    elif lone:  # whole numbers keep their dtype, and the sum of bool is bool
        x = x.any(axis=lone) if x.dtype.kind == "b" else astype(x.sum(axis=lone), x.dtype)
    return x, tuple(label for label in labels if label in used)


def _pair(first: Term, second: Term, others: Sequence[Term], result: Labels) -> Term:
    """The product of two terms, summed over the labels that nothing else has."""
    (x, left), (y, right) = first, second
    needed = set(result).union(*(labels for _, labels in others))
    kept = tuple(k for k in dict.fromkeys(left + right) if k in needed)
    if not others:
        kept = result
    return contract_p.bind(x, y, left=left, right=right, result=kept), kept


@lru_cache(maxsize=1024)
def _path(
    labels: tuple[Labels, ...], result: Labels, sizes: tuple[shapes.Shape, ...]
) -> list[tuple[int, ...]]:
    import opt_einsum  # late: for import time

    names = {k: opt_einsum.get_symbol(n) for n, k in enumerate(sorted({*sum(labels, ())}))}
    text = ",".join("".join(names[k] for k in term) for term in labels)
    text += "->" + "".join(names[k] for k in result)
    return list(opt_einsum.contract_path(text, *sizes, shapes=True)[0])


def _samples(r: Any) -> Any:
    for text, *sizes in (
        ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ba", (2, 3)), ("ii", (3, 3)),
        ("ii->i", (3, 3)), ("iij->j", (2, 2, 3)), ("iji->ij", (2, 3, 2)), ("iii->i", (2, 2, 2)),
        ("i,j->ij", (2,), (3,)), ("ij,ij->i", (2, 3), (2, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3)),
        ("...ij,...jk->...ik", (2, 1, 2, 3), (4, 3, 2)), ("...i->...", (2, 3)), ("i...", (2, 3)),
        ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)), ("bij,bjk,bk->bi", (2, 2, 3), (2, 3, 4), (2, 4)),
        ("i,ij,j", (2,), (2, 3), (3,)), (",ij->ij", (), (2, 3)), ("ij,ij->ij", (1, 3), (2, 3)),
        ("ij,kl->il", (2, 3), (4, 2)), ("ij,jk->ik", (0, 3), (3, 2)), ("ij,jk->ik", (2, 0), (0, 2)),
        ("i->", (0,)), ("ii,i->i", (3, 3), (3,)), ("ij,j->i", (2, 1), (3,)), ("->", ()),
        ("ijk,jl->kil", (2, 3, 2), (3, 2)),
    ):  # fmt: skip
        yield (text, *(r.normal(*s) for s in sizes)), {}
    yield ("ij,jk->ik", r.normal(2, 3), r.normal(3, 2)), {"dtype": "complex128"}
    yield ("ij,jk,kl", r.normal(2, 3), r.normal(3, 2), r.normal(2, 2)), {"optimize": "greedy"}
    yield (r.normal(2, 3), [0, 1], r.normal(3, 2), [1, 2], [2, 0]), {}
    yield (r.normal(2, 3), [1, 0], r.normal(4, 3), [Ellipsis, 0]), {}
    yield ("ij,jk->ik", r.normal(3, 2).T, r.normal(6, 4)[::2, ::-1]), {}
    z = r.normal(2, 3) + 1j * r.normal(2, 3)
    yield ("ij,ij->i", z, r.normal(2, 3) - 1j * r.normal(2, 3)), {}


@operation(numpy="einsum", oracle="einsum", samples=_samples)
def einsum(
    *operands: Any, optimize: Any = True, dtype: Any = None, order: str = "K", casting: str = "safe"
) -> Tensor:
    """Σ over the letters that the result lacks, as `numpy.einsum` spells it.

    Every spelling: "ij,jk->ik", without "->" (letters that occur once, sorted), "...", repeated
    letters (diagonals), lengths of 1 (broadcast), and einsum(x, [0, 1], y, [1, 2], [0, 2]). Three
    and more operands go in the cheapest order, whatever `optimize` says; `order` says nothing
    either (both are NumPy's). `dtype`: that of the operands and the result, to which they go by the
    rule `casting`. Raises `ShapeError` for subscripts that do not fit the operands.

    >>> einsum("i,ij->j", [1.0, 2.0], [[3.0, 4.0], [5.0, 6.0]])
    tensor([13., 16.])
    """
    if operands and isinstance(operands[0], str):
        arrays = operands[1:]
        inputs: list[Any] = [operand(x, arrays, "einsum") for x in arrays]
        labels, result = _parse(operands[0], tuple(x.ndim for x in inputs))
    else:
        inputs, labels, result = _sublists(operands)
    if dtype is not None:
        inputs = [astype(x, dtype, casting=casting, copy=False) for x in inputs]
    terms = _normal(list(zip(inputs, labels)), result)
    if len(terms) > 2:
        known = tuple(labels for _, labels in terms)
        path = _path(known, result, tuple(x.shape for x, _ in terms))
    else:
        path = [tuple(range(len(terms)))]
    for step in path:
        chosen = [terms[k] for k in sorted(step)]
        terms = [t for k, t in enumerate(terms) if k not in step]
        found = chosen[0]
        for n, other in enumerate(chosen[1:], 2):
            found = _pair(found, other, chosen[n:] + terms, result)
        terms.append(found)
    x, left = terms[0]
    if left != result:
        x = x.transpose(tuple(left.index(k) for k in result))
    return x  # type: ignore[no-any-return]
