"""HIPS autograd's interface on tensorgrad: its programs run by changing the import.

`import autograd.numpy as np` becomes `import tensorgrad.compat.autograd.numpy as np`, and
`from autograd import grad` becomes `from tensorgrad.compat.autograd import grad`. Conventions are
autograd's: `argnum`, gradients of complex arguments that are the conjugates of tensorgrad's, NumPy
results for NumPy arguments, its types of error, its warning for a constant function.

>>> import tensorgrad.compat.autograd.numpy as np
>>> from tensorgrad.compat.autograd import grad
>>> grad(lambda x: (1.0 - np.exp(-2 * x)) / (1.0 + np.exp(-2 * x)))(1.0)
np.float64(0.419974341614026)
"""

from tensorgrad.compat.autograd import builtins, core, extend, numpy, tracer
from tensorgrad.compat.autograd.builtins import dict, isinstance, list, tuple, type
from tensorgrad.compat.autograd.differential_operators import (
    checkpoint,
    deriv,
    elementwise_grad,
    grad,
    grad_and_aux,
    grad_named,
    hessian,
    hessian_tensor_product,
    hessian_vector_product,
    holomorphic_grad,
    jacobian,
    make_ggnvp,
    make_hvp,
    make_jvp,
    make_jvp_reversemode,
    make_vjp,
    multigrad_dict,
    tensor_jacobian_product,
    value_and_grad,
    vector_jacobian_product,
)
from tensorgrad.compat.autograd.primitives import primitive

__all__ = [
    "builtins",
    "checkpoint",
    "core",
    "deriv",
    "dict",
    "elementwise_grad",
    "extend",
    "grad",
    "grad_and_aux",
    "grad_named",
    "hessian",
    "hessian_tensor_product",
    "hessian_vector_product",
    "holomorphic_grad",
    "isinstance",
    "jacobian",
    "list",
    "make_ggnvp",
    "make_hvp",
    "make_jvp",
    "make_jvp_reversemode",
    "make_vjp",
    "multigrad_dict",
    "numpy",
    "primitive",
    "tensor_jacobian_product",
    "tracer",
    "tuple",
    "type",
    "value_and_grad",
    "vector_jacobian_product",
]
