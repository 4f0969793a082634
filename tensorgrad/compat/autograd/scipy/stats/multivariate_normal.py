"""The multivariate normal distribution."""

from tensorgrad.compat.autograd.scipy.stats.methods import methods as _methods

globals().update(_methods("multivariate_normal"))
