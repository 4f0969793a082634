"""Five programs written for HIPS autograd: the tests run them under both imports.

Each returns the numbers that it arrives at, from its own seed.
"""

import autograd.numpy as np
import autograd.numpy.random as npr
import autograd.scipy.stats.multivariate_normal as mvn
import autograd.scipy.stats.norm as norm
from autograd import grad, value_and_grad
from autograd.builtins import tuple
from autograd.misc.flatten import flatten
from autograd.misc.optimizers import adam, sgd
from autograd.scipy.integrate import odeint
from autograd.scipy.special import logsumexp
from scipy.optimize import minimize


def logistic_regression(seed):
    rs = npr.RandomState(seed)
    inputs = rs.randn(60, 3)
    targets = (inputs @ np.array([1.0, -2.0, 0.5]) + 0.3 * rs.randn(60)) > 0

    def loss(params, i=0):
        p = 0.5 * (np.tanh(np.dot(inputs, params["w"]) + params["b"]) + 1)
        chosen = p * targets + (1 - p) * (1 - targets)
        return -np.sum(np.log(chosen)) + 0.1 * np.sum(params["w"] ** 2)

    params = {"w": np.zeros(3), "b": 0.0}
    params = sgd(grad(loss), params, num_iters=60, step_size=0.02)
    return loss(params), flatten(params)[0]


def gaussian_process(seed):
    rs = npr.RandomState(seed)
    inputs = np.sort(rs.rand(12, 2), axis=0)
    targets = np.sin(4 * inputs[:, 0]) + 0.1 * rs.randn(12)

    def covariance(params, x, y):
        scales = np.exp(params[2:])
        gaps = np.expand_dims(x / scales, 1) - np.expand_dims(y / scales, 0)
        return np.exp(params[0]) * np.exp(-0.5 * np.sum(gaps**2, axis=2))

    def objective(params):
        cov = covariance(params, inputs, inputs) + (np.exp(params[1]) + 1e-4) * np.eye(12)
        return -mvn.logpdf(targets, np.zeros(12), cov)

    found = minimize(
        value_and_grad(objective), np.zeros(4), jac=True, method="CG", options={"maxiter": 8}
    )
    noisy = covariance(found.x, inputs, inputs) + np.exp(found.x[1]) * np.eye(12)
    mean = np.dot(covariance(found.x, inputs[:3] + 0.1, inputs), np.linalg.solve(noisy, targets))
    return found.fun, found.x, mean


def bayesian_network(seed):
    rs = npr.RandomState(seed)
    inputs = np.linspace(-2, 2, 20)[:, None]
    targets = np.cos(inputs) + 0.1 * rs.randn(20, 1)
    shapes = [(1, 4), (4, 1)]
    count = sum((m + 1) * n for m, n in shapes)

    def unpack(weights):
        for m, n in shapes:
            yield weights[:, : m * n].reshape((-1, m, n)), weights[:, m * n : m * n + n][:, None]
            weights = weights[:, (m + 1) * n :]

    def predict(weights, x):
        x = np.expand_dims(x, 0)
        for w, b in unpack(weights):
            out = np.einsum("mnd,mdo->mno", x, w) + b
            x = np.tanh(out)
        return out

    def log_density(weights):
        prior = np.sum(norm.logpdf(weights, 0.0, 2.0), axis=1)
        fit = np.sum((targets - predict(weights, inputs)) ** 2 / 0.1, axis=(1, 2))
        return prior - fit

    def objective(params, t):
        mean, log_std = params[:count], params[count:]
        noise = npr.RandomState(seed + t).randn(5, count)
        samples = noise * np.exp(log_std) + mean
        entropy = 0.5 * count * (1.0 + np.log(2 * np.pi)) + np.sum(log_std)
        return -(entropy + np.mean(log_density(samples)))

    start = np.concatenate([0.1 * rs.randn(count), -3 * np.ones(count)])
    found = adam(grad(objective), start, step_size=0.05, num_iters=40)
    return objective(found, 100), found


def ode_fit(seed):
    rs = npr.RandomState(seed)
    times = np.linspace(0.0, 3.0, 8)
    truth = np.array([[-0.2, 1.5], [-1.5, -0.2]])
    start = np.array([1.0, 0.5])

    def flow(y, t, matrix):
        return np.dot(matrix, np.tanh(y))

    data = odeint(flow, start, times, tuple((truth,))) + 0.01 * rs.randn(8, 2)

    def loss(params):
        matrix, y0 = params
        path = odeint(flow, y0, times, tuple((matrix,)), rtol=1e-9, atol=1e-9)
        return np.mean((path - data) ** 2)

    params = (truth + 0.1 * rs.randn(2, 2), start + 0.1)
    for _ in range(3):
        step = grad(loss)(params)
        params = tuple((params[0] - 0.3 * step[0], params[1] - 0.3 * step[1]))
    return loss(params), params[0], params[1]


def mixture(seed):
    """A mixture of Gaussians: three steps of EM, then ascent of the likelihood."""
    rs = npr.RandomState(seed)
    points = np.concatenate([rs.randn(20, 2) * 0.5 + c for c in ([0, 0], [3, 1], [-2, 2])])

    def parts(params):
        logs = params["weights"] - logsumexp(params["weights"])
        spread = params["spread"]
        covs = [np.dot(s.T, s) + 0.05 * np.eye(2) for s in spread]
        return np.vstack(
            [w + mvn.logpdf(points, m, c) for w, m, c in zip(logs, params["means"], covs)]
        )

    def objective(params):
        return -np.sum(logsumexp(parts(params), axis=0))

    means = points[[0, 25, 45]]
    params = {"weights": np.zeros(3), "means": means, "spread": np.stack([np.eye(2)] * 3)}
    for _ in range(3):
        logs = parts(params)
        share = np.exp(logs - logsumexp(logs, axis=0, keepdims=True))
        total = np.sum(share, axis=1)
        params = {**params, "weights": np.log(total), "means": share @ points / total[:, None]}
    flat, unflatten = flatten(params)
    found = minimize(
        lambda x: objective(unflatten(x)),
        flat,
        jac=lambda x: flatten(grad(objective)(unflatten(x)))[0],
        method="BFGS",
        options={"maxiter": 5},
    )
    return objective(params), found.fun, found.x


PROGRAMS = (logistic_regression, gaussian_process, bayesian_network, ode_fit, mixture)
