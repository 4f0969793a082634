"""Generated from the registry by tests/stubs.py; do not edit."""

from typing import Any

bernoulli: Any
beta: Any
binom: Any
cauchy: Any
chi2: Any
dirichlet: Any
expon: Any
f: Any
gamma: Any
geom: Any
gumbel_r: Any
halfnorm: Any
invgamma: Any
laplace: Any
logistic: Any
lognorm: Any
multivariate_normal: Any
nbinom: Any
norm: Any
pareto: Any
poisson: Any
t: Any
uniform: Any
vonmises: Any
weibull_min: Any
