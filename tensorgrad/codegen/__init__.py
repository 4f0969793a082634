"""Code generation: formulas as machine code. Floor 2: no backend, no Tensor."""

from tensorgrad.codegen.kernels import kernel, shortcut
from tensorgrad.codegen.llvm import supports

__all__ = ["kernel", "shortcut", "supports"]
