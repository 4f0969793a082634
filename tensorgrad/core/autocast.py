"""Mixed precision: what an operation's inputs are cast to before it runs, while somebody asks.

The call path of an operation with a policy asks `CASTS`, which is empty unless a block is open
somewhere; then `cast` gives the inputs that the operation is to have. Casts are operations of the
tape like any other, so that a float32 parameter has a float32 gradient. Backward runs in the dtypes
that forward had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import ref

from tensorgrad import dtypes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend import base
from tensorgrad.core.tape import WRITES, Array, Leaf
from tensorgrad.core.tensor import Tensor, make

if TYPE_CHECKING:
    from tensorgrad.core.primitive import Primitive

LOW = (
    "matmul contract linear linear_relu linear_gelu conv conv_input attention attention_masked "
    "lstm gru rnn_tanh rnn_relu"
)
"""Products, whose cost is worth 16 bits and whose sums a kernel keeps in float32."""

HIGH = (
    "exp exp2 expm1 log log2 log10 log1p power square reciprocal arccos arcsin sinh cosh tan "
    "special.erfinv softplus softplus_beta "
    "sum nansum prod cumsum cumprod logcumsumexp logsumexp softmax log_softmax "
    "norm norm_1 norm_p norm_inf norm_minus_inf normalize pairwise_distance cosine_similarity "
    "cdist pdist layer_norm rms_norm group_norm batch_norm batch_norm_fixed "
    "softmax_xent cross_entropy cross_entropy_soft cross_entropy_weighted nll_loss nll_loss_plain "
    "binary_cross_entropy binary_cross_entropy_with_logits mse_loss l1_loss huber pseudo_huber "
    "kl_div kl_div_loss kl_div_loss_log poisson_nll_loss poisson_nll_loss_log gaussian_nll_loss "
    "hinge_embedding_loss margin_ranking_loss soft_margin_loss multi_margin_1 multi_margin_2 "
    "multilabel_margin_loss cosine_embedding_loss triplet_margin_loss ctc "
    "cholesky inv solve det slogdet lu_factor lu_packed qr svd svdvals eig eigvals eigh eigvalsh "
    "pinv expm logm sqrtm transform real_transform real_inverse"
)
"""What loses its result in 16 bits, to rounding or to their range, or has no kernel for them."""

POLICY: dict[str, str] = {
    **dict.fromkeys(LOW.split(), "low"),
    **dict.fromkeys(HIGH.split(), "high"),
}
"""By primitive; one that is not here takes what it is given, and NumPy's promotion decides."""

CASTS: list[None] = []
"""As long as there are states that cast, in any context."""


class State:
    """What is cast to in a context (`dtype` None: nothing), and the casts of leaves so far."""

    __slots__ = ("dtype", "held", "outer")

    def __init__(self, dtype: Any, outer: State | None) -> None:
        self.dtype, self.outer = dtype, outer
        # By id: the leaf, its array, the newest write then, and the array that was cast.
        self.held: dict[int, tuple[ref[Tensor], Array, int, Array]] = {}
        if outer is not None and outer.dtype == dtype:
            self.held = outer.held
        if dtype is not None:
            CASTS.append(None)

    def __del__(self, casts: list[None] = CASTS) -> None:
        if self.dtype is not None:
            casts.pop()

    def lowered(self, x: Tensor) -> Tensor:
        """A tensor in the low dtype; the values of a leaf are cast once, its uses recorded each."""
        if x.level or type(x.node) is not Leaf:
            return _astype().bind(x, dtype=self.dtype)  # type: ignore[no-any-return]
        key, array, held = id(x), x.data, self.held
        found = held.get(key)
        if found is None or found[0]() is not x or found[1] is not array or _written(*found[1:3]):
            latest = WRITES.latest
            low = _astype().kernels[type(array)](array, dtype=self.dtype)
            found = ref(x, lambda _: held.pop(key, None)), array, latest, low
            held[key] = found
        return _astype().attach((x,), [make(found[3])], {"dtype": self.dtype})  # type: ignore[no-any-return]


def _written(array: Array, since: int) -> bool:
    """Whether an array was written to after a write of this number."""
    if WRITES.latest == since:
        return False
    return WRITES.since(array, since, base.bounds(array)) is not None


@cache
def _astype() -> Primitive:
    from tensorgrad.core.primitive import PRIMITIVES  # made of call paths, which read this module

    return PRIMITIVES["astype"]


_state: ContextVar[State | None] = ContextVar("autocast", default=None)
current: Callable[[], State | None] = _state.get


def cast(op: Primitive, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs of an operation as the mode of this context has them."""
    state, policy = _state.get(), op.autocast
    if state is None or not policy or state.dtype is None:
        return inputs
    kinds = [x.dtype for x in inputs]
    if any(dtypes.is_inexact(k) and (k.kind == "c" or k.itemsize > 4) for k in kinds):
        return inputs  # in float64 and complex numbers nothing is cast
    if policy == "high":
        return tuple([_raised(x) if dtypes.is_half(k) else x for x, k in zip(inputs, kinds)])
    low = state.dtype
    return tuple(
        [state.lowered(x) if k != low and dtypes.is_float(k) else x for x, k in zip(inputs, kinds)]
    )


def _raised(x: Tensor) -> Tensor:
    return _astype().bind(x, dtype=dtypes.float32)  # type: ignore[no-any-return]


def swap(state: State | None) -> State | None:
    """Put another mode in place of this context's, and give that."""
    before = _state.get()
    if before is not state:
        _state.set(state)
    return before


@contextmanager
def restored(state: State | None) -> Iterator[None]:
    """A block in the mode of another place: for a function run again, that of its first run."""
    before = swap(state)
    try:
        yield
    finally:
        swap(before)


class autocast(ContextDecorator):  # noqa: N801  (PyTorch's name)
    """Products in 16 bits, what needs them in 32: `with tg.autocast("bfloat16"):`, or a decorator.

    Matrix products, linear layers, convolutions, attention and recurrent layers get their float32
    inputs cast to `dtype`; softmax, losses, norms, sums, powers, exp, log and linear algebra get
    16-bit ones cast to float32; the rest takes the widest dtype of its inputs. Writes in place are
    left alone, and so is whatever has float64 or complex inputs. Parameters stay float32, and so do
    their gradients; the values of each are cast once in a block. Blocks nest; `enabled=False`
    switches off. Backward, wherever it is called, runs in the dtypes of forward. With float16 use
    `tg.optim.GradScaler`. Micikevicius et al., "Mixed precision training", 2018.

    Raises `DTypeError` for another dtype.

    >>> import tensorgrad as tg
    >>> x = tg.ones((2, 2), dtype="float32")
    >>> with tg.autocast("bfloat16"):
    ...     print((x @ x).dtype, tg.exp(x @ x).dtype)
    bfloat16 float32
    """

    def __init__(self, dtype: Any = "bfloat16", enabled: bool = True) -> None:
        name = dtype if isinstance(dtype, str) else dtypes.dtype(dtype).name
        need(name in ("bfloat16", "float16"), "autocast", dtype=name, want="bfloat16 or float16",
             fix='tg.autocast("bfloat16")', error=DTypeError)  # fmt: skip
        self.dtype, self.enabled = dtypes.dtype(name), enabled

    def __enter__(self) -> None:
        _state.set(State(self.dtype if self.enabled else None, _state.get()))

    def __exit__(self, *exc: object) -> None:
        state = _state.get()
        _state.set(None if state is None else state.outer)


def is_autocast_enabled() -> bool:
    """Whether `autocast` is on here.

    >>> is_autocast_enabled()
    False
    """
    state = _state.get()
    return state is not None and state.dtype is not None


def get_autocast_dtype() -> Any:
    """The dtype that `autocast` casts to here, None where it is off.

    >>> with autocast("float16"):
    ...     print(get_autocast_dtype())
    float16
    """
    state = _state.get()
    return None if state is None else state.dtype
