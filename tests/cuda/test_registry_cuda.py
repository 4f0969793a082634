"""Every operation of the registry on the CUDA backend, on the stand-in for CuPy."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import suppress
from inspect import signature
from typing import Any

import numpy as np
import place
import pytest
import test_registry as shared
from ops_tools import gpus, here, launches, there
from primitive_calls import calls
from test_registry import NAMES

import tensorgrad as tg
from tensorgrad import dtypes
from tensorgrad.core.formula import Elementwise, Reduce
from tensorgrad.core.primitive import PRIMITIVES
from tensorgrad.core.registry import OPERATIONS

DRAWN = 10  # operations of a run that is not --full

SLOW = ("special.betainc", "special.gammainc", "linalg.solve_triangular", "linalg.cho_factor")
"""How the names of functions begin whose derivatives take the stand-in half a minute: --full."""


def drawn(rng: Any, count: int = DRAWN) -> list[str]:
    """A fresh sample of the operations that a GPU has."""
    names = [n for n in NAMES if n not in shared.REFUSED and not n.startswith(SLOW)]
    return sorted(rng.sample(names, count))


SHARED = [
    shared.test_forward_equals_oracle,
    shared.test_first_order_path_equals_the_recorded_one,
    shared.test_forward_mode_is_the_transpose_of_reverse_mode,
    shared.test_batching_rule_equals_a_loop,
    shared.test_derivatives_to_order_three,
    shared.test_low_precision_errs_no_more_than_twice_the_reference,
]
"""Tests of `tests/ops`, of which a sample runs here too, where the suite runs on the CPU."""

VIEWS = frozenset(
    "reshape transpose broadcast_to flip index real imag split unstack diagonal windows".split()
)
"""Primitives that only look at their array otherwise."""

CUPY = {
    "astype": "a copy of one pass", "copy": "a copy of one pass", "conj": "one pass",
    "concat": "a copy of one pass", "stack": "a copy of one pass", "pad": "a fill and a copy",
    "roll": "copies", "of_parts": "two copies", "tril": "one pass", "triu": "one pass",
    "unindex": "a fill and a copy",
    "undiagonal": "a fill and a copy", "unwindows": "a sum for every place in the shorter axis",
    "extend": "copies of slices", "fold": "a copy, and sums of slices into it",
    "prod": "one reduction", "any": "one reduction", "all": "one reduction",
    "count_nonzero": "one reduction", "argmax": "one reduction", "argmin": "one reduction",
    "put_along_axis": "of equal indices the last wins, found by a maximum of whole numbers",
    "last_along_axis": "of equal indices the last wins, found by a maximum of whole numbers",
    "scatter": "of equal indices the last wins, found by a maximum of whole numbers",
    "last_place": "of equal indices the last wins, found by a maximum of whole numbers",
    "put": "two copies",
    **dict.fromkeys("eigh eigvalsh pinv qr svd svdvals".split(), "cuSOLVER, through CuPy"),
    "triangular": "cuBLAS, through CuPy",
    **dict.fromkeys((n for n in PRIMITIVES if n.startswith("special.")),
                    "SciPy's function as CuPy has it, own sums of it, or a refusal by name"),
    **dict.fromkeys("lu_factor solve inv".split(), "cuSOLVER, through CuPy"),
    **dict.fromkeys(shared.UNBOUND, "never bound on a GPU: no factors are kept there"),
    **dict.fromkeys("det slogdet cholesky eig eigvals expm expm_frechet".split(), "cuSOLVER"),
    "pivot_order": "exchanges of rows of whole numbers",
    **dict.fromkeys("logm solve_sylvester sqrtm".split(), "refused: CuPy has no Schur form"),
    "convolve_nd": "a multiply-add for each place of the shorter",
    "taps": "a multiply-add for each tap", "lagged": "a sum for each lag",
    "feedback": "CuPy's parallel recurrence", "tridiagonal": "cyclic reduction, log2(n) passes",
    "sparse_matmul": "cuSPARSE, through CuPy", "spsolve": "refused: SuperLU is on the host",
    **dict.fromkeys("transform real_transform real_inverse".split(), "cuFFT, through CuPy"),
    **dict.fromkeys("sort sorted_places argpartition largest".split(), "CuPy's stable sort"),
    **dict.fromkeys("ranked ranked_places picked picked_places".split(), "CuPy's stable sort"),
    "unpermute": "an assignment", "searchsorted": "a bisection an element",
    "nanargmax": "one reduction", "nanargmin": "one reduction",
    **dict.fromkeys("neighbours spread slopes unslopes".split(), "a pass over slices, and ends"),
    **dict.fromkeys("exponent ldexp gcd lcm bitwise_count modulus phase".split(), "one pass"),
    **dict.fromkeys("polyval moments vander".split(), "a pass for each coefficient"),
    "spacing": "a neighbour and a difference", "zeros_of": "the zeros as they come",
    "cross": "passes over components", "convolve": "a dot product for each element",
    "recurrence": "a scan of whole-array operations", "logcumsumexp": "a scan by doubling",
    "ctc": "a generated kernel for each frame",
    **dict.fromkeys("lstm gru rnn_tanh rnn_relu".split(),
                    "a stack of products and a generated kernel for each step"),
    "group_norm": "two generated kernels: rows, then groups",
    "glu": "a generated kernel over both halves",
    "span_sum": "a gather and a sum", "span_argmax": "a gather and one reduction",
    "resample": "a gather and a multiply-add for each tap",
    "im2col": "a copy for each element of the kernel",
    "col2im": "a sum of slices for each element of the kernel",
}  # fmt: skip
"""Primitives that run through CuPy's own functions, and why that is enough."""

KERNELS = {
    "sum": "rows_", "sum_to": "rows_", "max": "rows_", "min": "rows_", "tie_shares": "rows_",
    "gather": "gather_rows_", "take_along_axis": "gather_rows_", "one_hot": "gather_rows_",
    "nanmax": "rows_", "nanmin": "rows_", "permute": "gather_rows_", "cumprod": "cumprod_",
    "cummax": "cummax_", "cummin": "cummin_", "scatter_add": "index_add_",
    "add_along_axis": "index_add_", "cumsum": "cumsum_",
    "matmul": "matmul", "contract": "matmul", "linear": "matmul", "linear_relu": "matmul",
    "linear_gelu": "matmul",
    "dropout": "dropout_", "softmax_xent": "softmax_xent_", "mean_counted": "softmax_xent_mean_",
    "attention": "attention_", "attention_masked": "attention_",
    "conv": "conv_", "conv_input": "conv_input_", "conv_weight": "conv_weight_",
    **{name: f"{name}_" for name in "max_pool max_taps pool_pick pool_spread".split()},
    "avg_pool": "avg_pool_", "avg_spread": "avg_spread_",
}  # fmt: skip
"""Primitives with kernels of their own: how their names begin."""


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus(devices=2) as machine:
        yield machine


@pytest.fixture
def on_gpu(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests of the CPU's suite run as they do under `--backend`."""
    if place.chosen == "cpu":
        monkeypatch.setattr(place, "chosen", "stand-in")
    with place.on():
        yield
        place.settle()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A fresh sample of the operations; all of them with --full, or where a test is named."""
    if "operation" not in metafunc.fixturenames:
        return
    names, config = [n for n in NAMES if n not in shared.REFUSED], metafunc.config
    if not config.getoption("--full") and not any("[" in a for a in config.args):
        names = drawn(random.Random(config.getoption("--run-seed")))
    metafunc.parametrize("operation", names)


@pytest.mark.parametrize("name", sorted(PRIMITIVES))
def test_every_primitive_has_a_path_or_a_reason(name: str, gpu: Any) -> None:
    from tensorgrad.backend import base
    from tensorgrad.codegen import cuda, cuda_rows

    primitive = PRIMITIVES[name]
    if isinstance(primitive, Elementwise | Reduce):
        supports = cuda.supports if isinstance(primitive, Elementwise) else cuda_rows.supports
        given = {"f": "float32", "i": "int64", "b": "bool"}
        names = [given[v.kind] for v in primitive.formula.inputs]
        assert supports(primitive.formula, names)
        return
    if name in shared.REFERENCES:
        return
    assert callable(base.on("cuda").kernel(name))
    assert name in VIEWS | CUPY.keys() | KERNELS.keys()


def test_the_kernel_of_a_primitive_is_the_only_thing_of_its_name(gpu: Any) -> None:
    from tensorgrad.backend.cuda import backend

    shared.need_one_of_each_name("tensorgrad.backend.cuda.", backend.KERNEL_MODULES)


@pytest.mark.parametrize("test", SHARED, ids=lambda test: test.__name__.removeprefix("test_"))
def test_a_sample_of_the_suite(
    test: Any, operation: str, on_gpu: None, rng: np.random.Generator,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    marks = {m.args[0]: m.args[1] for m in test.pytestmark if m.name == "parametrize"}
    if operation not in marks["name"]:
        return
    wanted = signature(test).parameters
    given = {"name": operation, "rng": rng, "request": request}
    for dtype in marks.get("dtype", (None,)):
        test(**{k: v for k, v in {**given, "dtype": dtype}.items() if k in wanted})


def test_a_sample_of_primitives_writes_into_out(on_gpu: None, rng: np.random.Generator) -> None:
    watcher = shared.Spy()
    with shared.watching(watcher, place.DEVICE):
        shared.run_all(drawn(random.Random(int(rng.integers(2**32))), 4), rng)
    assert watcher.seen


# -- dtypes and paths ----------------------------------------------------------------------------

DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "int32", "uint8", "bool")


class Paths:
    """Holds every kernel call of a primitive to the path that the tables here name for it."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}

    def around(self, primitive: Any, kernel: Any) -> Any:
        def run(*arrays: Any, **params: Any) -> Any:
            before = dict(launches())
            result = kernel(*arrays, **params)
            ran = [k for k, n in launches().items() if n != before.get(k, 0)]
            outs = result if isinstance(result, tuple) else (result,)
            if arrays and all(dtypes.is_float(a.dtype) and a.size for a in (*arrays, *outs)):
                self.hold(primitive, ran, sum(o.size for o in outs) < arrays[0].size)
            return result

        return run

    def hold(self, primitive: Any, ran: list[str], reduced: bool) -> None:
        """Refuse a primitive whose kernel was not launched."""
        if isinstance(primitive, Elementwise):
            begins = ("tg_elements_",)
        elif isinstance(primitive, Reduce):
            begins = ("rows_",)
        else:
            begins = (KERNELS.get(primitive.name, ""),)
            begins += ("tg_elements_",) if primitive.name == "contract" else ()  # nothing is summed
            begins += ("matmul", "tg_elements_") if begins[0].startswith("conv_") else ()  # 1 x 1
        copied = begins == ("rows_",) and not (reduced or isinstance(primitive, Reduce))
        if "" in begins or copied:
            return
        assert any(kernel.startswith(begins) for kernel in ran), (primitive.name, ran)
        self.held[primitive.name] = self.held.get(primitive.name, 0) + 1


@pytest.mark.filterwarnings("ignore::numpy.exceptions.RankWarning")  # zeros and ones
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_gives_what_the_cpu_gives(
    operation: str, dtype: str, on_gpu: None, rng: np.random.Generator
) -> None:
    """Of the CPU's dtype and value, or refused as there; floats by the kernel that is named."""
    function, wanted = OPERATIONS[operation].function, dtypes.dtype(dtype)
    found = shared.samples(operation, rng)
    for k in rng.permutation(len(found))[:2]:
        args, options = lowered(found[k], wanted)
        if operation == "dropout":
            args, options = args[:1], {"training": False}
        with place.on("cpu"), np.errstate(all="ignore"):
            want = refused_or(lambda a=args, o=options: function(*a, **o))
        with shared.watching(Paths(), place.DEVICE):
            got = refused_or(lambda a=args, o=options: function(*a, **o))
        if want is None or got is None:
            reason = LACKING_DTYPES.get((operation, dtype))
            assert (want is None) == (got is None) or reason, (operation, dtype, args)
            with suppress(ValueError):  # what the GPU found wrong, and tells when it is read
                place.settle()
            continue
        for g, w in zip(got, want, strict=True):
            assert (g.dtype, g.shape) == (w.dtype, w.shape)
            g, w = here(g), here(w)
            if operation == "argpartition":  # of equal elements either may come first
                g, w = [_at(args[0], places, options["axis"]) for places in (g, w)]
            close(g, w, wanted)


def _at(x: Any, places: Any, axis: int | None) -> Any:
    flat = x if axis is not None else x.reshape(-1)
    return np.take_along_axis(flat, places, -1 if axis is None else axis)


LACKING_DTYPES = {
    **{(name, "complex64"): "CuPy has erf for real numbers" for name in (*shared.LACKING, "gelu")},
    **{
        (f"special.{name}", "complex64"): "CuPy has it for real numbers"
        for name in "erfcx exp1 expi log_ndtr ndtr".split()
    },
    **{
        (name, "complex64"): "refused by name on a GPU"
        for name in "cummax cummin nanmax nanmin".split()
    },
    ("power", "int32"): "a GPU tells a negative exponent when a value is read, the CPU at once",
    ("relu6", "bool"): "the CPU has no bool to hold its 6, and a GPU needs none",
    **{
        (f"linalg.{name}", dtype): "a GPU does not wait to see that a matrix is singular"
        for name in (
            "inv",
            "solve",
            "tensorinv",
            "tensorsolve",
            "matrix_power",
            "solve_toeplitz",
            "cholesky",
            "cho_factor",
        )
        for dtype in ("bool", "uint8")
    },
}
"""Operations that one of the two refuses in a dtype which the other takes, and why."""


def lowered(value: Any, dtype: Any) -> Any:
    """A sample with its float64 arrays in another dtype."""
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        with np.errstate(all="ignore"):
            return np.abs(value * 4).astype(dtype) if dtype.kind in "ub" else value.astype(dtype)
    if isinstance(value, dict):
        return {k: lowered(v, dtype) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(lowered(v, dtype) for v in value)
    return value


def refused_or(call: Any) -> list[Any] | None:
    """The tensors that a call gives; None where it refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)  # casts to real numbers
            return [x for x in shared.leaves(call()) if isinstance(x, tg.Tensor)]
    except (TypeError, ValueError, OverflowError, tg.TensorgradError):
        return None


def close(got: Any, want: Any, dtype: Any) -> None:
    """Equal to rounding: 16 units in the last place of the largest number, of inputs or outputs."""
    if want.dtype.kind in "iub" or not want.size:
        np.testing.assert_array_equal(got, want)
        return
    kinds = [d for d in (want.dtype, dtype) if dtypes.is_inexact(d)]
    eps = max(dtypes.eps(dtypes.real(d)) for d in kinds)
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    got, want = got.astype(wide), want.astype(wide)
    scale = np.max(np.abs(want), initial=1.0, where=np.isfinite(want))
    np.testing.assert_allclose(got, want, rtol=16 * eps, atol=16 * eps * scale)


def test_a_kernel_that_is_bypassed_is_found(on_gpu: None, rng: np.random.Generator) -> None:
    """The check of the paths can fail: it finds a fault that is planted."""
    import cupy

    x = there(rng.standard_normal((4, 6)))
    exp, softmax = PRIMITIVES["exp"], PRIMITIVES["softmax"]
    for primitive, call, bypass in (
        (exp, lambda: tg.exp(x), lambda a: cupy.exp(a)),
        (softmax, lambda: tg.softmax(x), lambda a, **_: (cupy.exp(a),) * softmax.nout),
    ):
        own = primitive.kernels[cupy.ndarray]
        with shared.watching(Paths(), place.DEVICE):
            call()
        primitive.kernels[cupy.ndarray] = bypass
        try:
            with (
                shared.watching(Paths(), place.DEVICE),
                pytest.raises(AssertionError, match=primitive.name),
            ):
                call()
        finally:
            primitive.kernels[cupy.ndarray] = own


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_the_kernel_named_is_the_one_that_runs(
    name: str, gpu: Any, rng: np.random.Generator
) -> None:
    call = calls(rng)[name]
    counter = launches()
    before = dict(counter)
    call()
    ran = [kernel for kernel, count in counter.items() if count != before.get(kernel, 0)]
    assert any(kernel.startswith(KERNELS[name]) for kernel in ran), ran


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_formulas_run_as_one_generated_kernel(
    dtype: str, gpu: Any, rng: np.random.Generator
) -> None:
    x = there(rng.standard_normal((4, 6)).astype(dtypes.dtype(dtype)))
    for call, prefix in ((lambda: tg.gelu(x), "tg_elements_"), (lambda: tg.softmax(x), "rows_")):
        call()
        before = dict(launches())
        call()
        ran = {k: n - before.get(k, 0) for k, n in launches().items() if n != before.get(k, 0)}
        assert [k.startswith(prefix) for k in ran] == [True]
        assert sum(ran.values()) == 1


def digits(rng: np.random.Generator) -> tuple[Any, Any]:
    x = rng.standard_normal((48, 20)).astype("f4")
    return x, (x @ rng.standard_normal((20, 10)).astype("f4")).argmax(1)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_training_run_gives_the_losses_of_the_cpu(
    optimizer: str, gpu: Any, rng: np.random.Generator
) -> None:
    x, y = digits(rng)
    first = [rng.standard_normal(s).astype("f4") / 4 for s in ((16, 20), (16,), (10, 16), (10,))]
    losses = {device: trained(device, optimizer, x, y, first) for device in ("cpu", "cuda:0")}
    np.testing.assert_allclose(losses["cuda:0"], losses["cpu"], rtol=2e-5)
    assert losses["cpu"][-1] < losses["cpu"][0]


def trained(device: str, optimizer: str, x: Any, y: Any, first: list[Any]) -> list[float]:
    params = [tg.nn.Parameter(tg.tensor(a, device=device)) for a in first]
    moved, labels = tg.tensor(x, device=device), tg.tensor(y, device=device)
    chosen = getattr(tg.optim, optimizer)(params, lr=0.05)
    losses = []
    for _ in range(12):
        w1, b1, w2, b2 = params
        loss = tg.cross_entropy(tg.linear(tg.linear_relu(moved, w1, b1), w2, b2), labels)
        losses.append(loss.item())
        chosen.zero_grad()
        loss.backward()
        chosen.step()
    return losses
