"""Python's containers and type questions, which in autograd have to see through its boxes.

Containers hold tensors as they are here, so Python's own serve; `isinstance` and `type` answer for
the value of a tensor.
"""

from __future__ import annotations

import builtins as _builtins
from typing import Any

from tensorgrad.compat.autograd.values import bare

tuple, list, dict = _builtins.tuple, _builtins.list, _builtins.dict


def isinstance(value: Any, kinds: Any) -> bool:
    """Python's `isinstance` of a tensor's value (an array, or a NumPy scalar), else of `value`."""
    return _builtins.isinstance(bare(value), kinds)


def type(value: Any) -> Any:
    """Python's `type` of a tensor's value (an array, or a NumPy scalar), else of `value`."""
    return _builtins.type(bare(value))
