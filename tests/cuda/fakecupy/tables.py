"""What CuPy 14.2 offers: the loops of its ufuncs and the parameters of its functions.

Tables of facts, compared with CuPy itself where that is installed (`test_real_cupy.py`).
"""

from __future__ import annotations

INT = "bBhHiIlLqQ"
FLOAT = "eEfd"
COMPLEX = "FD"


def _same(chars: str, inputs: int, out: str = "") -> list[str]:
    return [f"{c * inputs}>{out or c}" for c in chars]


_MIXED = ["qq", "qQ", "Qq", "QQ"]
_COMPARE = ["??>?", "qq>?", "QQ>?", "qQ>?", "Qq>?"]
_ALL = "?" + INT + FLOAT + COMPLEX

# names: loops, "inputs>outputs" in dtype characters ("E" is bfloat16), in the order of trial
_UFUNCS = {
    "abs absolute": [*_same("?" + INT + FLOAT, 1), "F>f", "D>d"],
    "acos arccos acosh arccosh arcsin asin arcsinh asinh arctan atan arctanh atanh cos cosh exp "
    "exp2 expm1 i0 log log10 log1p log2 rint sin sinc sinh sqrt tan tanh": _same(
        FLOAT + COMPLEX, 1
    ),
    "add fmax fmin maximum minimum multiply subtract": _same(_ALL, 2),
    "arctan2 atan2 copysign hypot nextafter": _same(FLOAT + COMPLEX, 2),
    "bitwise_and bitwise_or bitwise_xor gcd lcm": _same("?" + INT, 2),
    "bitwise_count": _same(INT, 1, "B"),
    "bitwise_invert bitwise_not invert": _same("?" + INT, 1),
    "bitwise_left_shift left_shift bitwise_right_shift right_shift": _same(INT, 2),
    "cbrt deg2rad radians degrees rad2deg fabs": _same(FLOAT, 1),
    "ceil fix floor trunc": _same("?" + INT + FLOAT, 1),
    "conj conjugate reciprocal sign square": _same(INT + FLOAT + COMPLEX, 1),
    "divide true_divide": [*(f"{m}>d" for m in _MIXED), *_same(FLOAT + COMPLEX, 2)],
    "divmod": [f"{c}{c}>{c}{c}" for c in INT + "efd"],
    "equal not_equal": [*_COMPARE, *_same(FLOAT + COMPLEX + "V", 2, "?")],
    "float_power": ["dd>d", "FF>D", "DD>D"],
    "floor_divide fmod mod remainder": _same(INT + FLOAT, 2),
    "frexp": [f"{c}>{c}i" for c in FLOAT],
    "greater greater_equal less less_equal": [*_COMPARE, *_same(FLOAT + COMPLEX, 2, "?")],
    "heaviside logaddexp logaddexp2": _same(FLOAT, 2),
    "isfinite isinf isnan": _same(FLOAT + COMPLEX, 1, "?"),
    "ldexp": "ei>e Ei>E fi>f el>e El>E fl>f di>d dq>d".split(),
    "logical_and logical_or": [*_COMPARE, *_same(FLOAT, 2, "?")],
    "logical_not": _same("?" + INT + "efd", 1, "?"),
    "logical_xor": _same("?" + INT + "efd", 2, "?"),
    "modf": [f"{c}>{c}{c}" for c in FLOAT],
    "negative positive": _same(_ALL, 1),
    "pow power": ["??>b", *_same(_ALL[1:], 2)],
    "signbit": _same(FLOAT, 1, "?"),
}
UFUNCS = {name: loops for names, loops in _UFUNCS.items() for name in names.split()}
WHERE = [f"?{c}{c}>{c}" for c in "?" + INT + "efdFD"]
CLIP = _same("?" + INT + "efd", 3)
_SPECIAL = {
    "erf erfc erfcx expit log_expit logit ndtr log_ndtr": "e>d f>f d>d",
    "erfinv erfcinv ndtri entr": "f>f d>d",
    "gamma loggamma rgamma digamma psi": "l>d e>d f>f d>d F>F D>D",
    "gammaln": "l>d e>d f>f d>d",
    "zeta rel_entr kl_div gammainc gammaincc gammaincinv gammainccinv binom poch expn": "ff>f dd>d",
    "exp1 expi": "f>f d>d",
    "xlogy xlog1py": "ee>d ll>d LL>d ff>f dd>d FF>F DD>D",
    "i0 i0e i1 i1e j0 j1 k0 k0e k1 k1e y0 y1": "l>d L>d e>d f>f d>d",
    "yn": "id>d dd>d",
    "exprel": "l>d L>d e>d f>f d>d F>F D>D",
    "betaln beta": "ll>d LL>d ee>d ff>f dd>d",
    "betainc betaincinv": "fff>f ddd>d",
}  # of cupyx.scipy.special
SPECIAL = {name: loops.split() for names, loops in _SPECIAL.items() for name in names.split()}

# functions of cupy: name and parameters
FUNCTIONS = """
all: a, axis=None, out=None, keepdims=False
allclose: a, b, rtol=1e-05, atol=1e-08, equal_nan=False
amax: a, axis=None, out=None, keepdims=False
amin: a, axis=None, out=None, keepdims=False
angle: z, deg=False
any: a, axis=None, out=None, keepdims=False
append: arr, values, axis=None
arange: start, stop=None, step=1, dtype=None
argmax: a, axis=None, dtype=None, out=None, keepdims=False
argmin: a, axis=None, dtype=None, out=None, keepdims=False
argpartition: a, kth, axis=-1
argsort: a, axis=-1, kind=None
argwhere: a
around: a, decimals=0, out=None
array: obj, dtype=None, copy=True, order='K', subok=False, ndmin=0, *, blocking=False
array_equal: a1, a2, equal_nan=False
array_split: ary, indices_or_sections, axis=0
asanyarray: a, dtype=None, order=None, *, copy=None, blocking=False
asarray: a, dtype=None, order=None, *, copy=None, blocking=False
ascontiguousarray: a, dtype=None
asfortranarray: a, dtype=None
asnumpy: a, stream=None, order='C', out=None, *, blocking=True
astype: x, dtype, /, *, copy=True
atleast_1d: *arys
atleast_2d: *arys
atleast_3d: *arys
average: a, axis=None, weights=None, returned=False, *, keepdims=False
bincount: x, weights=None, minlength=None
broadcast_arrays: *args
broadcast_shapes: *args
broadcast_to: array, shape
can_cast: from_, to, casting='safe'
choose: a, choices, out=None, mode='raise'
clip: a, a_min, a_max, out=None
column_stack: tup
compress: condition, a, axis=None, out=None
concat: tup, axis=0, out=None, *, dtype=None, casting='same_kind'
concatenate: tup, axis=0, out=None, *, dtype=None, casting='same_kind'
convolve: a, v, mode='full'
copy: a, order='K'
copyto: dst, src, casting='same_kind', where=None
count_nonzero: a, axis=None
cross: a, b, axisa=-1, axisb=-1, axisc=-1, axis=None
cumprod: a, axis=None, dtype=None, out=None
cumsum: a, axis=None, dtype=None, out=None
cumulative_sum: x, /, *, axis=None, dtype=None, out=None, include_initial=False
diag: v, k=0
diag_indices: n, ndim=2
diagflat: v, k=0
diagonal: a, offset=0, axis1=0, axis2=1
diff: a, n=1, axis=-1, prepend=None, append=None
digitize: x, bins, right=False
dot: a, b, out=None
dsplit: ary, indices_or_sections
dstack: tup
einsum: *operands, **kwargs
empty: shape, dtype=float, order='C'
empty_like: prototype, dtype=None, order='K', subok=None, shape=None
expand_dims: a, axis
extract: condition, a
eye: N, M=None, k=0, dtype=float, order='C'
fill_diagonal: a, val, wrap=False
flatnonzero: a
flip: a, axis=None
fliplr: a
flipud: a
full: shape, fill_value, dtype=None, order='C'
full_like: a, fill_value, dtype=None, order='K', subok=None, shape=None
get_array_module: *args
histogram: x, bins=10, range=None, density=False, weights=None
hsplit: ary, indices_or_sections
hstack: tup, *, dtype=None, casting='same_kind'
identity: n, dtype=float
imag: val
indices: dimensions, dtype=int
inner: a, b
interp: x, xp, fp, left=None, right=None, period=None
isclose: a, b, rtol=1e-05, atol=1e-08, equal_nan=False
iscomplexobj: x
isdtype: dtype, kind
isfortran: a
isin: element, test_elements, assume_unique=False, invert=False
isneginf: x, out=None
isposinf: x, out=None
isreal: x
isrealobj: x
isscalar: element
issubdtype: arg1, arg2
ix_: *args
kron: a, b
lexsort: keys
linspace: start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0
logspace: start, stop, num=50, endpoint=True, base=10.0, dtype=None, axis=0
matrix_transpose: x, /
max: a, axis=None, out=None, keepdims=False
may_share_memory: a, b, max_work=None
mean: a, axis=None, dtype=None, out=None, keepdims=False
median: a, axis=None, out=None, overwrite_input=False, keepdims=False
meshgrid: *xi, **kwargs
min: a, axis=None, out=None, keepdims=False
moveaxis: a, source, destination
nan_to_num: x, copy=True, nan=0.0, posinf=None, neginf=None
nanargmax: a, axis=None, dtype=None, out=None, keepdims=False
nanargmin: a, axis=None, dtype=None, out=None, keepdims=False
nancumprod: a, axis=None, dtype=None, out=None
nancumsum: a, axis=None, dtype=None, out=None
nanmax: a, axis=None, out=None, keepdims=False
nanmean: a, axis=None, dtype=None, out=None, keepdims=False
nanmedian: a, axis=None, out=None, overwrite_input=False, keepdims=False
nanmin: a, axis=None, out=None, keepdims=False
nanprod: a, axis=None, dtype=None, out=None, keepdims=False
nanstd: a, axis=None, dtype=None, out=None, ddof=0, keepdims=False
nansum: a, axis=None, dtype=None, out=None, keepdims=False
nanvar: a, axis=None, dtype=None, out=None, ddof=0, keepdims=False
ndim: a
nonzero: a
ones: shape, dtype=float, order='C'
ones_like: a, dtype=None, order='K', subok=None, shape=None
outer: a, b, out=None
pad: array, pad_width, mode='constant', **kwargs
partition: a, kth, axis=-1
percentile: a, q, axis=None, out=None, overwrite_input=False, method='linear', keepdims=False, *, interpolation=None
permute_dims: a, axes=None
place: arr, mask, vals
prod: a, axis=None, dtype=None, out=None, keepdims=False
ptp: a, axis=None, out=None, keepdims=False
put: a, ind, v, mode='wrap'
put_along_axis: arr, indices, values, axis
putmask: a, mask, values
quantile: a, q, axis=None, out=None, overwrite_input=False, method='linear', keepdims=False, *, interpolation=None
ravel: a, order='C'
real: val
repeat: a, repeats, axis=None
require: a, dtype=None, requirements=None
reshape: a, newshape, order='C', *, copy=None
result_type: *arrays_and_dtypes
roll: a, shift, axis=None
rollaxis: a, axis, start=0
rot90: a, k=1, axes=(0, 1)
round: a, decimals=0, out=None
searchsorted: a, v, side='left', sorter=None
select: condlist, choicelist, default=0
shape: a
shares_memory: a, b, max_work=None
sort: a, axis=-1, kind=None
split: ary, indices_or_sections, axis=0
squeeze: a, axis=None
stack: tup, axis=0, out=None, *, dtype=None, casting='same_kind'
std: a, axis=None, dtype=None, out=None, ddof=0, keepdims=False
sum: a, axis=None, dtype=None, out=None, keepdims=False
swapaxes: a, axis1, axis2
take: a, indices, axis=None, out=None
take_along_axis: a, indices, axis
tensordot: a, b, axes=2
tile: A, reps
trace: a, offset=0, axis1=0, axis2=1, dtype=None, out=None
transpose: a, axes=None
trapezoid: y, x=None, dx=1.0, axis=-1
tri: N, M=None, k=0, dtype=float
tril: m, k=0
tril_indices: n, k=0, m=None
triu: m, k=0
triu_indices: n, k=0, m=None
unique: ar, return_index=False, return_inverse=False, return_counts=False, axis=None, *, equal_nan=True
unravel_index: indices, dims, order='C'
unwrap: p, discont=None, axis=-1, *, period=6.283185307179586
vander: x, N=None, increasing=False
var: a, axis=None, dtype=None, out=None, ddof=0, keepdims=False
vdot: a, b
vsplit: ary, indices_or_sections
vstack: tup, *, dtype=None, casting='same_kind'
where: condition, x=None, y=None
zeros: shape, dtype=float, order='C'
zeros_like: a, dtype=None, order='K', subok=None, shape=None
"""  # noqa: E501

# methods of cupy.ndarray
METHODS = """
all: self, axis=None, out=None, keepdims=False
any: self, axis=None, out=None, keepdims=False
argmax: self, axis=None, out=None, dtype=None, keepdims=False
argmin: self, axis=None, out=None, dtype=None, keepdims=False
argpartition: self, kth, axis=-1
argsort: self, axis=-1, kind=None
astype: self, dtype, order='K', casting=None, subok=None, copy=True
choose: self, choices, out=None, mode='raise'
clip: self, min=None, max=None, out=None
compress: self, condition, axis=None, out=None
conj: self
conjugate: self
copy: self, order='C'
cumprod: self, axis=None, dtype=None, out=None
cumsum: self, axis=None, dtype=None, out=None
diagonal: self, offset=0, axis1=0, axis2=1
dot: self, b, out=None
fill: self, value
flatten: self, order='C'
get: self, stream=None, order='C', out=None, blocking=True
item: self
max: self, axis=None, out=None, keepdims=False
mean: self, axis=None, dtype=None, out=None, keepdims=False
min: self, axis=None, out=None, keepdims=False
nonzero: self
partition: self, kth, axis=-1
prod: self, axis=None, dtype=None, out=None, keepdims=None
ptp: self, axis=None, out=None, keepdims=False
put: self, indices, values, mode='wrap'
ravel: self, order='C'
reduced_view: self, dtype=None
repeat: self, repeats, axis=None
reshape: self, *shape, order='C', copy=None
round: self, decimals=0, out=None
scatter_add: self, slices, value
scatter_max: self, slices, value
scatter_min: self, slices, value
searchsorted: self, v, side='left', sorter=None
set: self, arr, stream=None
sort: self, axis=-1, kind=None
squeeze: self, axis=None
std: self, axis=None, dtype=None, out=None, ddof=0, keepdims=False
sum: self, axis=None, dtype=None, out=None, keepdims=False
swapaxes: self, axis1, axis2
take: self, indices, axis=None, out=None
tobytes: self, order='C'
tolist: self
trace: self, offset=0, axis1=0, axis2=1, dtype=None, out=None
transpose: self, *axes
var: self, axis=None, dtype=None, out=None, ddof=0, keepdims=False
view: self, dtype=None, type=None
"""

# functions of cupy.linalg
LINALG = """
cholesky: a
det: a
eig: a
eigh: a, UPLO='L'
eigvals: a
eigvalsh: a, UPLO='L'
inv: a
lstsq: a, b, rcond=None
matrix_power: M, n
norm: x, ord=None, axis=None, keepdims=False
pinv: a, rcond=1e-15
qr: a, mode='reduced'
slogdet: a
solve: a, b
svd: a, full_matrices=True, compute_uv=True
"""
