"""The operations, one file a family. Importing this package fills the registry.

A namespace (`tg.linalg`, `tg.special` ...) is a folder of families, imported when first met.
"""

from tensorgrad.ops import (
    activations,
    along,
    axes,
    class_losses,
    compare,
    complex,
    create,
    dense,
    diagonal,
    einsum,
    elementary,
    elementwise,
    extremes,
    gather,
    index,
    inplace,
    join,
    loss_cases,
    losses,
    methods,
    norm,
    operators,
    products,
    protocols,
    random,
    reduce,
    shape,
    slicing,
    softmax,
    ufuncs,
)

NAMESPACES = protocols.NAMESPACES

methods.attach()
protocols.build()


def load() -> None:
    """Fill the registry with the operations of every namespace, which are else loaded when met."""
    for namespace in NAMESPACES:
        protocols.load(namespace)


__all__ = [
    "NAMESPACES",
    "activations",
    "along",
    "axes",
    "class_losses",
    "compare",
    "complex",
    "create",
    "dense",
    "diagonal",
    "einsum",
    "elementary",
    "elementwise",
    "extremes",
    "gather",
    "index",
    "inplace",
    "join",
    "load",
    "loss_cases",
    "losses",
    "methods",
    "norm",
    "operators",
    "products",
    "protocols",
    "random",
    "reduce",
    "shape",
    "slicing",
    "softmax",
    "ufuncs",
]
