"""Operations that a GPU refuses by name, and why."""

from __future__ import annotations

SPECIAL = tuple(
    """erfi dawsn jv jve yv yve iv ive kv kve hyp2f1 hyp1f1 spherical_jn spherical_yn spherical_in
    spherical_kn""".split()
)
"""Functions of `tg.special` that CuPy 14 does not have, and that no others make up."""

REFUSED = {
    **{f"special.{name}": "CuPy has no such function" for name in SPECIAL},
    **{f"linalg.{name}": "CuPy has no Schur decomposition"
       for name in ("logm", "solve_sylvester", "sqrtm")},
    **dict.fromkeys(("sparse_matmul", "sparse_multiply"), "a matrix of SciPy's lies on the host"),
    "linalg.spsolve": "SuperLU factorises on the host",
}  # fmt: skip
"""By operation the reason; `docs/pages/gpu.md` lists them."""
