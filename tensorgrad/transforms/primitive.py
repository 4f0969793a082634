"""`primitive`: an operation from NumPy code and the rule of its gradient.

The function and its rules see arrays, never tensors, as long as nothing differentiates the rules
themselves: then they get tensors, and what they compute is recorded. A batch of `vmap` is taken
apart, an element a call, since code on arrays cannot be traced.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from tensorgrad import _config
from tensorgrad._errors import DeviceError, GradientError, NotDifferentiable
from tensorgrad.backend import base
from tensorgrad.core.levels import Batched
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.ops.join import stack
from tensorgrad.transforms import trust
from tensorgrad.transforms.custom import Custom, answer
from tensorgrad.transforms.fuse import fuse
from tensorgrad.transforms.reverse import like, zeros
from tensorgrad.transforms.rules import Tensors, WrittenVjp, refuse
from tensorgrad.transforms.tree import flatten, map_leaves

if TYPE_CHECKING:
    from tensorgrad.backend.cuda.user import UserKernel

Function = Callable[..., Any]


class Operation(Custom):
    """A decorated function: its code, its rules, its kernel."""

    def __init__(self, f: Function, vjp: Function | None, jvp: Function | None) -> None:
        super().__init__("primitive", f)
        self.f, self.backward, self.forward = f, vjp, jvp
        self.kernel: UserKernel | None = None
        self.shape: Function | None = None
        self.checked = False

    def compute(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """The function of arrays, by its kernel where they are a GPU's."""
        devices = _devices(args)
        if devices <= {"cpu"}:
            return self.f(*args, **options)
        if self.kernel is None:
            try:
                found = self.f(*args, **options)
            except TypeError as error:
                raise DeviceError(
                    f"{self.name}: got arrays on {_listed(devices)}, expected NumPy's there, as "
                    f"its code was written ({error}); try cuda= with a kernel, functions that "
                    'dispatch on their arrays, or x.to("cpu")'
                ) from error
        else:
            found = self.kernel(self._named(args, options), self._shapes(args, options))
            if _config.is_debugging():
                trust.hold_kernel(self, args, options, found)
        if _devices(found) != devices - {"cpu"}:
            raise DeviceError(
                f"{self.name}: got a result that is not on {_listed(devices)} as its arguments "
                'are, expected it there too; try cuda= with a kernel, or x.to("cpu")'
            )
        return found

    def _named(self, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        bound = inspect.signature(self.f).bind(*args, **options)
        bound.apply_defaults()
        return bound.arguments

    def _shapes(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return None if self.shape is None else self.shape(*args, **options)


def _devices(values: Any) -> set[str]:
    """Where the arrays of a container are, tensors that a function captured among them."""
    bare = [x.value() if isinstance(x, Tensor) else x for x in flatten(values)[0]]
    return {base.of(x).device for x in bare if base.known(type(x)) is not None}


def _listed(devices: set[str]) -> str:
    return " and ".join(sorted(devices))


class ArrayRules(WrittenVjp):
    """One call of an operation; its inputs are the tensors among the arguments."""

    def __init__(self, op: Operation, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        for name, value in options.items():
            if any(isinstance(x, Tensor) and (x.level or x.node) for x in flatten(value)[0]):
                raise TypeError(
                    f"{op.name}: got a recorded tensor as the option {name}, expected it among "
                    "the positional arguments, which alone have derivatives; try passing it by "
                    "position"
                )
        super().__init__(op.name, (), args, map_leaves(_array, options))
        self.op = op

    @staticmethod
    def moves(leaf: Any) -> bool:
        """True for tensors: what is none has no derivative, and stays what it is."""
        return isinstance(leaf, Tensor)

    # -- the function --------------------------------------------------------------------------

    def run(self, xs: Tensors) -> Tensors:
        def one(xs: Tensors) -> Tensors:
            arrays = [x.data for x in xs]
            if _config.is_debugging() and not self.op.checked:
                trust.check_rules(self.op, self, arrays)
            return self.results(self.op.compute(self.args(arrays), self.options))

        outs = apart(one, [x.detach() for x in xs])
        for y in outs:
            self._check_batch(y)
        return outs

    def _check_batch(self, y: Tensor) -> None:
        """Refuse a batch of what the function captured, whose tape would be cut."""
        while y.level and type(y.data) is Batched:
            level, y = y.level, y.data.inner
            refuse(y.level >= level, self.name)
            if y.node is not None:
                raise GradientError(
                    f"{self.name}: got a recorded tensor that the function captured, expected it "
                    "among the arguments under vmap; try passing it"
                )

    def save(self, xs: Tensors) -> tuple[Tensors, list[Any]]:
        if self.op.backward is None and self.op.forward is None:
            raise NotDifferentiable(
                f"{self.name}: got a recorded tensor, expected a rule for its gradient; try "
                "vjp=, or x.detach()"
            )
        recorded = _config.is_recording() and any(x.node is not None for x in xs)
        again = recorded or any(x.level for x in xs)
        outs = self.op.call(self, xs) if again else self.run(xs)
        return outs, list(outs)

    # -- its rules -----------------------------------------------------------------------------

    def pull(self, xs: Tensors, residuals: list[Any], cts: Tensors) -> list[Tensor | None]:
        if self.op.backward is None:
            raise NotDifferentiable(
                f"{self.name}: got a gradient to take backward, expected a rule for it beside "
                "that of forward mode; try vjp="
            )

        def one(xs: Tensors, outs: Tensors, cts: Tensors) -> list[Tensor | None]:
            rule, shape = self.op.backward, self._shaped
            given = self._ruled("vjp", rule, (xs, None), (cts, shape), (outs, shape))
            return self._home(self.cotangents(given, xs), xs)

        return apart(one, xs, residuals, cts)

    def push(self, xs: Tensors, tangents: Tensors) -> list[Tensor | None]:
        if self.op.forward is None:
            return super().push(xs, tangents)

        def one(xs: Tensors, outs: Tensors, tangents: Tensors) -> list[Tensor | None]:
            rule = self.op.forward
            moved = (tangents, lambda ts: self.args(ts, still=False))
            given = self._ruled("jvp", rule, (xs, None), moved, (outs, self._shaped))
            return self._home(self.tangents(given, outs), outs)

        return apart(one, xs, self.save(xs)[0], tangents)

    def _shaped(self, leaves: list[Any]) -> Any:
        shape: Any = self.shape
        return shape(leaves)

    def _ruled(self, kind: str, rule: Any, at: Any, *given: tuple[Tensors, Function]) -> Any:
        """What a rule returns: of arrays, or of tensors where it is differentiated itself."""
        xs = at[0]
        every = [x for values, _ in ((xs, None), *given) for x in values]
        if not recorded(every) and not any(x.level for x in every):
            first = [shape([x.data for x in values]) for values, shape in given]
            return rule(*first, *self.args([x.data for x in xs]), **self.options)
        try:
            first = [shape(values) for values, shape in given]
            return rule(*first, *self.args(xs), **self.options)
        except GradientError as error:
            if not str(error).startswith("__array__"):
                raise
            raise GradientError(
                f"{self.name}: got a {kind} rule that takes arrays alone, expected one of "
                "differentiable operations where the rule is differentiated itself (second "
                "order, or forward mode without jvp=); try np.f(x) of its tensors, or "
                'tg.jacobian(..., mode="reverse") for a whole derivative'
            ) from error

    def _home(self, found: list[Tensor | None], values: Tensors) -> list[Tensor | None]:
        """What a rule returned, refused where it is on another device than its value."""
        for g, x in zip(found, values):
            if g is not None and g.device != x.device:
                raise DeviceError(
                    f"{self.name}: got a derivative on {g.device}, expected it on {x.device} as "
                    "its value; try np.zeros_like(x) instead of np.zeros(x.shape)"
                )
        return found


# -- batches -------------------------------------------------------------------------------------


def apart(f: Function, *groups: Sequence[Any]) -> list[Any]:
    """f of groups of tensors (and None), element by element of the batch of the highest level.

    Where that batch is recorded itself f gets it whole: taken apart, its tape would be cut.
    """
    every = [x for group in groups for x in group if x is not None]
    level = max((x.level for x in every), default=0)
    top = [x for x in every if x.level == level]
    if not level or not isinstance(top[0].data, Batched) or recorded(every):
        return f(*groups)  # type: ignore[no-any-return]
    size = top[0].data.inner.shape[0]
    rows = [
        apart(f, *[[_element(x, i, level) for x in group] for group in groups])
        for i in range(max(size, 1))
    ]
    return [_together(column, size, level) for column in zip(*rows)]


def _array(x: Any) -> Any:
    """A tensor's array; all else as it is."""
    return x.data if isinstance(x, Tensor) else x


def recorded(values: Sequence[Tensor]) -> bool:
    """Whether what is done with these values now goes on a tape."""
    return _config.is_recording() and any(x.node is not None for x in values)


def _element(x: Any, i: int, level: int) -> Any:
    """Element i of a batch of this level; of an empty batch zeros, whose results nobody sees."""
    if x is None or x.level != level:
        return x
    inner = x.data.inner
    return inner[i] if inner.shape[0] else zeros(x.shape, x.dtype, x)


def _together(column: Sequence[Tensor | None], size: int, level: int) -> Tensor | None:
    """A batch of this level from its elements, zeros for None where others are not."""
    like = next((y for y in column if y is not None), None)
    if like is None:
        return None
    whole = stack([zeros(like.shape, like.dtype, like) if y is None else y for y in column])
    return make(Batched(level, whole[:size]), None, level)


# -- the decorator -------------------------------------------------------------------------------


def primitive(
    f: Function | None = None,
    *,
    vjp: Function | None = None,
    jvp: Function | None = None,
    cuda: str | PathLike[str] | None = None,
    shape: Function | None = None,
    formula: Function | None = None,
) -> Any:
    """An operation from NumPy code: a decorator, bare or with keywords.

    `f` sees arrays in place of tensors, in any containers, and returns arrays. Its derivative:

    vjp(ct, out, *args, **options): a tuple with the cotangent of each positional argument, None
        for zero; `ct` and `out` have the structure of the result. `@f.defvjp` sets it as well.
    jvp(tangents, out, *args, **options): the tangent of the result; `tangents` is a tuple like
        args. Left out it is the transpose of vjp. `@f.defjvp` sets it as well.
    formula: the function once more, of scalars, as `tg.fuse` takes it. It computes everything, on
        the CPU and on a GPU, derivatives of every order included; it comes with no other keyword.

    Rules see arrays too; where they are differentiated themselves (second order, forward mode by
    transposition) they see tensors, so written in differentiable operations they give every order.
    Under `vmap` function and rules run once an element. A recorded tensor that f captured has the
    derivative of f's own steps.

    cuda: for arrays on a GPU, the text of a kernel or the path of a `.cu` file, with one
        `__global__` function or one named as f. Its parameters go by f's names: `const T* x` is
        the argument x, a number its value, `x_0` the length of axis 0 of x, `n` the number of
        elements of the first result; other pointers are results. With `template <class T>` it
        serves every dtype. One thread an element of the result is started, 256 a block. Arrays are
        contiguous, and of one shape, as by broadcasting.
    shape(*args, **options): the shape of the kernel's result, or a list of them; given it, arrays
        come in their own shapes.

    Without `cuda` f gets the GPU's arrays, which np.f and methods take. Under `tg.debug()` rules
    are held to central differences at the first call with a recorded argument, a kernel to f, a
    formula to f. Raises `GradientError` for a wrong rule, with the argument, the size of the error
    and the worst element; `DeviceError` where f is for NumPy's arrays alone; `NotDifferentiable`
    without a rule.

    >>> import numpy as np, tensorgrad as tg
    >>> @tg.primitive
    ... def cube(x):
    ...     return x**3
    >>> @cube.defvjp
    ... def _(ct, out, x):
    ...     return (3 * x**2 * ct,)
    >>> tg.grad(cube)(2.0), tg.grad(tg.grad(cube))(2.0)
    (12.0, 12.0)
    """
    given: dict[str, Any] = {"vjp": vjp, "jvp": jvp, "cuda": cuda, "shape": shape}
    if f is None:
        return functools.partial(primitive, **given, formula=formula)
    if formula is not None:
        if any(value is not None for value in given.values()):
            raise TypeError(
                "primitive: got formula and other keywords, expected it alone, since values, "
                "derivatives and kernels follow from it; try without them"
            )
        return _from_formula(f, formula)
    op = Operation(f, vjp, jvp)
    if cuda is not None:
        from tensorgrad.backend.cuda.user import UserKernel  # late: most have no kernel

        op.kernel, op.shape = UserKernel(op.name, cuda, f), shape

    @functools.wraps(f)
    def run(*args: Any, **options: Any) -> Any:
        return answer(op, ArrayRules(op, args, options))

    def defvjp(rule: Function) -> Function:
        """Set the rule vjp(ct, out, *args, **options) -> cotangents; a decorator."""
        op.backward, op.checked = rule, False
        return rule

    def defjvp(rule: Function) -> Function:
        """Set the rule jvp(tangents, out, *args, **options) -> tangent; a decorator."""
        op.forward, op.checked = rule, False
        return rule

    made: Any = run
    made.primitive, made.defvjp, made.defjvp = op, defvjp, defjvp
    return made


def _from_formula(f: Function, formula: Function) -> Function:
    """An operation that a formula computes; f is what it is held to."""
    fused: Any = fuse(formula)
    name, checked = f"primitive({getattr(f, '__name__', 'f')})", [False]

    @functools.wraps(f)
    def run(*args: Any, **options: Any) -> Any:
        leaves = flatten(args)[0]
        found = fused(*args, **options)
        if _config.is_debugging() and not checked[0]:
            checked[0] = trust.hold_formula(name, f, args, options, found)
        source = next((x for x in leaves if isinstance(x, Tensor)), (*leaves, None)[0])
        return map_leaves(lambda y: like(y, source), found)

    made: Any = run
    made.primitive = fused.primitive
    return made  # type: ignore[no-any-return]
