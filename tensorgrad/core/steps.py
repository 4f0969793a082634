"""Forward mode on bare arrays: an operation's value and tangent by two kernels and nothing else.

A step is written per primitive and set of moving inputs. It takes the calls whose values are not
recorded and not of a level below; `Dual.apply` takes all others, at four times the price.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tensorgrad.core.calls import restore
from tensorgrad.core.levels import Dual
from tensorgrad.core.tape import ROOT
from tensorgrad.core.tensor import Tensor

if TYPE_CHECKING:
    from tensorgrad.core.primitive import Primitive

Step = Callable[..., Any]
"""f(inputs, params, level) -> the result on that level, or None: not a call for it."""

Term = tuple[Any, tuple[int, ...]]
"""A primitive, and which of (*inputs, output, *tangents) it takes; with None it is the one."""

_TEXT = """
def make(op, {primitives}):
    kernels, quiet = op.kernels, op.quiet
    def step(inputs, params, level):
        {x}, = inputs
{loads}
        kind = type(a0)
        try:
            v = kernels[kind]({a}, **params)
            if type(v) is not kind:
                v = restore(v, kind)
{terms}
        except Exception:
            return None  # the other way fails too, and says it better
        if t0.shape != v.shape or t0.dtype is not v.dtype or v.dtype.kind == "c":
            return None
        d = new(Dual)
        d.level = level
        d.value = v
        d.moved = t0
        d._inner = d._tangent = None
        t = new(Tensor)
        t.data = d
        t.node = None
        t.level = level
        return t

    return step
"""

_MOVING = """
        d{k} = x{k}.data
        a{k} = d{k}.value
        if a{k} is None or d{k}._inner is not None and not d{k}.bare():
            return None"""
_STILL = """
        if x{k}.level or x{k}.node is not None:
            return None
        a{k} = x{k}.data"""
_TERM = """
            t{n} = quiet[kind](p{n}.kernels[kind], ({taken},), params)
            if type(t{n}) is not kind:
                t{n} = restore(t{n}, kind)"""


class Steps(dict[int, Step]):
    """The steps of a primitive by the mask of moving inputs, written when first met."""

    def __init__(self, op: Primitive) -> None:
        super().__init__()
        self._op = op

    def __missing__(self, mask: int) -> Step:
        op = self._op
        terms = op.terms(mask) if op.nout == 1 and op.nin > 0 and op.differentiable else ()
        step = self[mask] = _written(op, mask, terms) if terms else _never
        return step


def _never(inputs: Any, params: Any, level: int) -> None:
    """The step of what has none."""


def _written(op: Primitive, mask: int, terms: tuple[Term, ...]) -> Step:
    """The step of a primitive whose tangent is the sum of `terms`."""
    each = range(op.nin)
    names = [f"a{k}" for k in each] + ["v"] + [f"d{k}.moved" for k in each]
    lines = []
    for n, (primitive, sources) in enumerate(terms):
        taken = ", ".join(names[s] for s in sources)
        single = f"\n            t{n} = {taken}"
        lines.append(single if primitive is None else _TERM.format(n=n, taken=taken))
    lines += [f"\n            t0 = op.plus[kind](t0, t{n})" for n in range(1, len(terms))]
    text = _TEXT.format(
        primitives=", ".join(f"p{n}" for n in range(len(terms))),
        x=", ".join(f"x{k}" for k in each),
        a=", ".join(f"a{k}" for k in each),
        loads="".join((_MOVING if mask >> k & 1 else _STILL).format(k=k) for k in each),
        terms="".join(lines),
    )
    scope: dict[str, Any] = {
        "Dual": Dual, "Tensor": Tensor, "new": object.__new__, "restore": restore
    }  # fmt: skip
    exec(compile(text, f"{ROOT}step of {op.nin}", "exec"), scope)
    return scope["make"](op, *[primitive for primitive, _ in terms])  # type: ignore[no-any-return]


_PULL = """
def make(primitive):
    kernels = None if primitive is None else primitive.kernels
    def pull(saved, ct, params):
{run}
        return ({pairs})

    return pull
"""

_RUN = """
        kind = type(ct)
        g = kernels[kind]({taken})"""
_ONE = """
        if type(g) is not kind:
            g = restore(g, kind)"""


def written_pull(
    primitive: Any, taken: tuple[int, ...], saved: int, results: list[tuple[int, int]]
) -> Callable[..., Any]:
    """f(saved, ct, params) -> (input, cotangent) pairs, of a formula with one output.

    The kernel of `primitive` takes what is at `taken` of (*saved, ct); `results` pair an input
    with its output, or with ct as it is (below 0).
    """
    single = primitive is not None and primitive.nout == 1
    words = ["ct" if r < 0 else "g" if single else f"g[{r}]" for _, r in results]
    run = "" if primitive is None else _RUN + (_ONE if single else "")
    arguments = ["ct" if t == saved else f"saved[{t}]" for t in taken]
    if primitive is not None and primitive.takes_params:
        arguments.append("**params")
    text = _PULL.format(
        run=run.format(taken=", ".join(arguments)),
        pairs="".join(f"({k}, {word}), " for (k, _), word in zip(results, words)),
    )
    scope: dict[str, Any] = {"restore": restore}
    exec(compile(text, f"{ROOT}pull", "exec"), scope)
    return scope["make"](primitive)  # type: ignore[no-any-return]
