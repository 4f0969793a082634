"""NumPy's functions that are no operations: constants, writes, creations, and those refused.

With the registry these tables say of every function in NumPy's lists what it does with a tensor;
`surface` puts them together, and a test holds them to the lists of the NumPy that is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_CONSTANT = """
    _core.umath._ones_like allclose array2string array_equal array_equiv array_repr array_str
    argwhere can_cast common_type einsum_path isclose iscomplex iscomplexobj isreal isrealobj
    may_share_memory min_scalar_type ndim packbits ravel_multi_index result_type shape
    shares_memory size unpackbits unravel_index
"""

CONSTANT = frozenset(_CONSTANT.split())
"""Functions whose result does not depend on the values, or is piecewise constant in them."""

WRITES = frozenset("copyto fill_diagonal place put put_along_axis putmask".split())
"""Functions that write into their first argument."""

AS_TENSOR = frozenset(
    "array asanyarray asarray ascontiguousarray asfortranarray require".split()
)  # fmt: skip
"""With `like=` a tensor: the argument as a tensor, with its place on the tape."""

CREATION = frozenset(
    """
    arange empty eye frombuffer fromfile fromfunction fromiter fromstring full genfromtxt identity
    loadtxt ones tri zeros
    """.split()
)
"""With `like=` a tensor: a new constant on its device."""

Refusal = tuple[str, str]

_STRINGS = ("strings, which have no derivative", "x.detach().numpy().astype(str)")
_DATES = ("dates, which have no derivative", "a tensor of days or seconds")
_RECORDS = ("a structured array, whose fields have no derivative", "a dict of tensors")
_FILES = ("numbers alone, for a file keeps no graph", "x.detach()")


def _each(names: str, refusal: Refusal, lead: str = "") -> dict[str, Refusal]:
    return dict.fromkeys([lead + name for name in names.split()], refusal)


REFUSED: dict[str, Refusal] = {
    **_each(
        """
        _join _rsplit _split _splitlines capitalize center count decode encode endswith expandtabs
        find index isalnum isalpha isdecimal isdigit islower isnumeric isspace istitle isupper
        ljust lower mod multiply partition replace rfind rindex rjust rpartition slice startswith
        str_len swapcase title translate upper zfill
        """,
        _STRINGS,
        "strings.",
    ),
    **_each(
        """
        _expandtabs_length _lstrip_chars _lstrip_whitespace _partition_index _rpartition_index
        _rstrip_chars _rstrip_whitespace _strip_chars _strip_whitespace
        """,
        _STRINGS,
        "_core.umath.",
    ),
    **_each("equal greater greater_equal less less_equal not_equal", _STRINGS, "char."),
    **_each("busday_count busday_offset datetime_as_string is_busday isnat", _DATES),
    **_each(
        """
        append_fields apply_along_fields assign_fields_by_name drop_fields find_duplicates join_by
        merge_arrays rec_append_fields rec_drop_fields rec_join recursive_fill_fields rename_fields
        repack_fields require_fields stack_arrays structured_to_unstructured
        unstructured_to_structured
        """,
        _RECORDS,
        "lib.recfunctions.",
    ),
    **_each("save savetxt savez savez_compressed", _FILES),
}
"""What a function wants instead of a tensor that needs a gradient, and what to try.

A function stands here only if HIPS autograd, PyTorch and JAX cannot differentiate it either.
"""


def dotted(function: Any) -> str:
    """Where NumPy has a function or ufunc ("linalg.det", "strings.find"); a stranger's own name.

    A ufunc that works for a function of `np.strings` has that function's name.
    """
    name: str = function.__name__
    if not isinstance(function, np.ufunc):
        lead, _, rest = (function.__module__ or "").partition(".")
        return f"{rest}.{name}" if lead == "numpy" and rest else name
    if getattr(np, name, None) is function:
        return name
    umath: Any = np._core.umath  # type: ignore[attr-defined]
    if getattr(umath, name, None) is not function:
        return name
    public = name.lstrip("_")
    return f"strings.{public}" if hasattr(np.strings, public) else f"_core.umath.{name}"


def shown(function: Any) -> str:
    """The name of a function or ufunc for messages: "np.linalg.det"."""
    name = dotted(function)
    found: Any = np
    for part in name.split("."):
        found = getattr(found, part, None)
    return name if found is None else f"np.{name}"
