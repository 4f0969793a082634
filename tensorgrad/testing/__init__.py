"""Gradient checkers.

`check_grad` and `check_grads` hold the derivatives that tensorgrad makes to central differences or
complex steps: along random directions, order by order, or element by element (`full=True`).
`check_gradient` holds a gradient that somebody wrote down, element by element: which argument is
wrong, by how much, and where it is worst.
"""

from tensorgrad.testing.byhand import check_gradient, numerical_gradient
from tensorgrad.testing.directions import check_grad, check_grads

__all__ = ["check_grad", "check_gradient", "check_grads", "numerical_gradient"]
