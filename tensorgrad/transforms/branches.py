"""Python that a formula cannot follow: the error shows the user's own line and the rewrite.

A formula is traced on variables that have no value yet. What asks one for its value (a branch, a
conversion to a number) or treats it as an array raises; here that becomes an error that names the
place in the user's source and the elementwise form of what stands there.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable, Iterator
from itertools import islice
from types import CodeType, TracebackType
from typing import Any

from tensorgrad.core.tape import ROOT
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import Expr

_EXTREMES = {"max": "maximum", "min": "minimum"}
_CONVERTED = {"float": "{0}", "int": "np.trunc({0})", "bool": "{0} != 0", "complex": "{0}"}
_CONVERTED |= {"round": "np.rint({0})"}
_MATH = {
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan",
    "atan2": "arctan2", "atanh": "arctanh", "degrees": "rad2deg", "fabs": "abs", "pow": "power",
    "radians": "deg2rad",
}  # fmt: skip
"""NumPy's names for the functions of `math` that have another one there."""

_ELSEWHERE = {"erf", "erfc"}
_LONGEST = 80  # characters of a line that is shown whole
_ASKED = {"bool", "float", "int", "index", "complex"}
"""What the errors of a variable that is asked for its value begin with."""


def traced(name: str, trace: Callable[[], Any]) -> Any:
    """What `trace` returns; TypeError with the user's line where a variable cannot do something."""
    try:
        return trace()
    except (TypeError, AttributeError) as error:
        found = _explained(name, error)
        if found is None:
            raise
        raise found from None


def _explained(name: str, error: TypeError | AttributeError) -> TypeError | None:
    """The error to raise instead; None for one that has nothing to do with variables."""
    frames = list(_frames(error.__traceback__))
    users = [f for f in frames if not f.tb_frame.f_code.co_filename.startswith(ROOT)]
    if not users:
        return None
    place = users[-1]
    if place is frames[-1] and not _about_variable(error):
        return None
    text = str(error)
    line, around = _source(place)
    asked = text.partition(":")[0] in _ASKED or "__round__" in text
    rewrites = (_rewrite(node, inner) for inner, node in zip([None, *around], around))
    rewrite = next((r for r in rewrites if r is not None), None) if asked else None
    arrays = (
        _arrays(place, around) if text.startswith("const:") or "a tensor beside" in text else ""
    )
    if rewrite is not None:
        want, fix = (
            "no Python branch or number from a value known only when the kernel runs",
            rewrite,
        )
    elif arrays:
        want = f"a formula of its arguments and of numbers; {arrays} is an array"
        fix = f"making {arrays} an argument of {name}"
    elif ", expected " in text and "try " in text and not text.startswith("asarray:"):
        want = text.partition(", expected ")[2].partition("; ")[0]
        fix = text.rpartition("try ")[2]
    else:
        step = f"`{ast.unparse(around[0])}`" if around else "this step"
        want = "elementwise functions of variables, each of which stands for one element"
        fix = f"{step} on arrays, outside {name}"
    return TypeError(f"{name}: got {line}, expected {want}; try {fix}")


def _frames(found: TracebackType | None) -> Iterator[TracebackType]:
    while found is not None:
        yield found
        found = found.tb_next


def _about_variable(error: TypeError | AttributeError) -> bool:
    """True if Python itself refused an operation on a variable."""
    return isinstance(getattr(error, "obj", None), Expr) or "Expr" in str(error)


def _source(place: TracebackType) -> tuple[str, list[ast.AST]]:
    """(the line that failed and where it stands, the syntax around it, innermost first)."""
    code, number = place.tb_frame.f_code, place.tb_lineno
    line = linecache.getline(code.co_filename, number).strip()
    if not line:
        return f"a step at {code.co_filename}, line {number}", []
    around = _around(code, place.tb_lasti, code.co_filename)
    if len(line) > _LONGEST and around:
        line = ast.unparse(around[0])
    return f"`{line}` ({code.co_filename}, line {number})", around


def _around(code: CodeType, instruction: int, file: str) -> list[ast.AST]:
    first, last, start, end = next(islice(code.co_positions(), instruction // 2, None))
    if first is None or last is None or start is None or end is None:
        return []
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return []
    found: list[Any] = [n for n in ast.walk(tree) if isinstance(n, ast.expr | ast.stmt)]
    found = [
        n
        for n in found
        if (n.lineno, n.col_offset) <= (first, start)
        and (n.end_lineno, n.end_col_offset) >= (last, end)
    ]
    return found[::-1]  # `walk` goes from the outside inwards


def _rewrite(node: ast.AST, inner: ast.AST | None) -> str | None:
    """The elementwise form of a construct that asked for a value; `inner`: the part that did."""
    if inner is not None and getattr(node, "test", inner) is not inner:
        return None
    for kind, rule in _RULES.items():
        if isinstance(node, kind):
            return rule(node)
    return None


def _text(node: ast.AST) -> str:
    found = ast.unparse(node)
    simple = isinstance(node, ast.Name | ast.Constant | ast.Call | ast.Attribute | ast.Subscript)
    return found if simple else f"({found})"


def _if(node: Any) -> str:
    test = ast.unparse(node.test)
    then, other = (_value(body) for body in (node.body, node.orelse))
    return f"`np.where({test}, {then or '...'}, {other or '...'})` in place of the `if`"


def _value(body: list[ast.stmt]) -> str:
    """What a branch of one statement returns or assigns."""
    value = getattr(body[0], "value", None) if len(body) == 1 else None
    keeps = value is not None and isinstance(body[0], ast.Return | ast.Assign)
    return ast.unparse(value) if keeps else ""  # type: ignore[arg-type]


def _choice(node: Any) -> str:
    return "`np.where({}, {}, {})`".format(*map(ast.unparse, (node.test, node.body, node.orelse)))


def _while(node: Any) -> str:
    test = ast.unparse(node.test)
    return f"a fixed number of steps, each `value = np.where({test}, next_value, value)`"


def _assert(node: Any) -> str:
    return f"to check `{ast.unparse(node.test)}` outside, on arrays: `np.all(...)`"


def _bools(node: Any) -> str:
    sign = " & " if isinstance(node.op, ast.And) else " | "
    parts = [f"({ast.unparse(value)})" for value in node.values]
    return f"`{sign.join(parts)}`, in `np.where` where it chooses"


def _not(node: Any) -> str | None:
    return f"`~{_text(node.operand)}`" if isinstance(node.op, ast.Not) else None


def _chain(node: Any) -> str | None:
    if len(node.ops) == 1:
        return None
    sides = [node.left, *node.comparators]
    pairs = [ast.Compare(a, [op], [b]) for a, op, b in zip(sides, node.ops, sides[1:])]
    return "`" + " & ".join(f"({ast.unparse(pair)})" for pair in pairs) + "`"


def _call(node: Any) -> str | None:
    args = list(map(ast.unparse, node.args))
    if isinstance(node.func, ast.Name):
        name = node.func.id
        if name in _EXTREMES and len(args) == 2:
            return f"`np.{_EXTREMES[name]}({', '.join(args)})`"
        if name in _CONVERTED and args:
            return f"`{_CONVERTED[name].format(args[0])}`"
    owner = getattr(getattr(node.func, "value", None), "id", "")
    if owner in ("math", "cmath"):
        name = _MATH.get(node.func.attr, node.func.attr)
        return f"`{'tg' if name in _ELSEWHERE else 'np'}.{name}({', '.join(args)})`"
    return None


_RULES: dict[type[ast.AST], Callable[[Any], str | None]] = {
    ast.If: _if,
    ast.IfExp: _choice,
    ast.While: _while,
    ast.Assert: _assert,
    ast.BoolOp: _bools,
    ast.UnaryOp: _not,
    ast.Compare: _chain,
    ast.Call: _call,
}


def _arrays(place: TracebackType, around: list[ast.AST]) -> str:
    """The names in the failing expression that stand for arrays."""
    frame = place.tb_frame
    names = [n for inner in around[:1] for n in ast.walk(inner) if isinstance(n, ast.Name)]
    known = {**frame.f_globals, **frame.f_locals}
    return ", ".join(dict.fromkeys(n.id for n in names if _is_array(known.get(n.id))))


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) or isinstance(getattr(value, "shape", None), tuple)


_HIDDEN = "got a value with a batch hidden in it"


def batched(run: Callable[[], Any]) -> Any:
    """What `run` returns; where it asks for the value of a batch, an error with the user's line."""
    try:
        return run()
    except ValueError as error:
        if f": {_HIDDEN}" not in str(error):
            raise
        frames = _frames(error.__traceback__)
        users = [f for f in frames if not f.tb_frame.f_code.co_filename.startswith(ROOT)]
        if not users:
            raise
        line, around = _source(users[-1])
        rewrites = (_rewrite(node, inner) for inner, node in zip([None, *around], around))
        rewrite = next((f", here {r}" for r in rewrites if r is not None), "")
        found = ValueError(
            f"vmap: got {line}, which reads a value with a batch hidden in it, expected no Python "
            f"branch or number from one; try where(c, a, b) instead of `if c`{rewrite}"
        )
    raise found
