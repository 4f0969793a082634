"""The gamma distribution."""

from tensorgrad.compat.autograd.scipy.stats.methods import methods as _methods

globals().update(_methods("gamma"))
