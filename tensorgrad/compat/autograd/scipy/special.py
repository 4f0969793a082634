"""Special functions: SciPy's on NumPy's values, tensorgrad's on tensors."""

from __future__ import annotations

from typing import Any

import scipy.special as _theirs

import tensorgrad as _tg
from tensorgrad.compat.autograd.namespaces import joined as _joined

_special: Any = _tg.special
_OURS = {name: getattr(_special, name) for name in _special.__all__}
globals().update(_joined(_theirs, _OURS, "scipy.special"))


def __getattr__(name: str) -> Any:
    return getattr(_theirs, name)
