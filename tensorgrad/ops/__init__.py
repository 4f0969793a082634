"""The operations, one file a family. Importing this package fills the registry.

A namespace (`tg.linalg`, `tg.special` ...) is a folder of families, imported when first met.
"""

from collections.abc import Callable
from typing import Any

from tensorgrad.core.registry import names_in
from tensorgrad.ops import (
    activations,
    along,
    array_api,
    at,
    axes,
    bessel,
    binning,
    bivariate,
    calculus,
    class_losses,
    compare,
    complex,
    convolve,
    create,
    cumulative,
    dense,
    diagonal,
    einsum,
    elementary,
    elementwise,
    exchange,
    extremes,
    fitting,
    gather,
    gradient,
    index,
    index_sets,
    inplace,
    insert,
    integers,
    interp,
    join,
    loss_cases,
    losses,
    mapping,
    methods,
    nan,
    norm,
    operators,
    order,
    padding,
    polynomial,
    products,
    protocols,
    put,
    quantile,
    random,
    ranges,
    reduce,
    rounding,
    select,
    sets,
    shape,
    slicing,
    softmax,
    sorting,
    sparse,
    splitting,
    statistics,
    ufuncs,
    vectors,
    windows,
)

NAMESPACES = protocols.NAMESPACES

methods.attach()
protocols.build()


def load() -> None:
    """Fill the registry with the operations of every namespace, which are else loaded when met."""
    for namespace in (*NAMESPACES, "nn"):
        protocols.load(namespace)


def layers() -> dict[str, Callable[..., Any]]:
    """The operations that stand in tg.nn.functional alone, by name: loaded when that is."""
    protocols.load("nn")
    return names_in("nn")


__all__ = [
    "NAMESPACES",
    "activations",
    "along",
    "array_api",
    "at",
    "axes",
    "bessel",
    "binning",
    "bivariate",
    "calculus",
    "class_losses",
    "compare",
    "complex",
    "convolve",
    "create",
    "cumulative",
    "dense",
    "diagonal",
    "einsum",
    "elementary",
    "elementwise",
    "exchange",
    "extremes",
    "fitting",
    "gather",
    "gradient",
    "index",
    "index_sets",
    "inplace",
    "insert",
    "integers",
    "interp",
    "join",
    "layers",
    "load",
    "loss_cases",
    "losses",
    "mapping",
    "methods",
    "nan",
    "norm",
    "operators",
    "order",
    "padding",
    "polynomial",
    "products",
    "protocols",
    "put",
    "quantile",
    "random",
    "ranges",
    "reduce",
    "rounding",
    "select",
    "sets",
    "shape",
    "slicing",
    "softmax",
    "sorting",
    "sparse",
    "splitting",
    "statistics",
    "ufuncs",
    "vectors",
    "windows",
]
