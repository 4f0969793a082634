"""Backends: NumPy on the CPU. One array type each, found by the type of the array."""

from tensorgrad.backend.base import Backend, asarray, of, of_type, on, register
from tensorgrad.backend.numpy import NumpyBackend

register(NumpyBackend())

__all__ = ["Backend", "NumpyBackend", "asarray", "of", "of_type", "on", "register"]
