"""SciPy's functions for programs that are differentiated: those of autograd, and more."""

from tensorgrad.compat.autograd.scipy import integrate, linalg, misc, signal, special, stats

__all__ = ["integrate", "linalg", "misc", "signal", "special", "stats"]
