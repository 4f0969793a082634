"""The UCI handwritten digits that scikit-learn ships: 1,797 images of 8 x 8 pixels."""

from __future__ import annotations

import numpy as np

from tensorgrad.data._bad import bad, place
from tensorgrad.data.dataset import Dataset
from tensorgrad.data.targets import Wish, make_target

_BRIGHTEST = 16  # pixels count the set points of a 4 x 4 block


def load_digits(wish: Wish | None = None) -> Dataset:
    """The digits with pixels / 16 as float32 (1797, 64) and labels 0 to 9.

    Raises `DataError` when scikit-learn is not installed. Alpaydin and Kaynak, Optical
    Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """
    try:
        from sklearn import datasets
    except ImportError as cause:
        raise bad(
            "digits", "no scikit-learn", "it to be installed", "pip install 'tensorgrad[train]'"
        ) from cause
    bunch = datasets.load_digits()
    made = make_target(
        bunch.target,
        wish or Wish(),
        lambda row, _: place("digits", None if row is None else row + 1),
    )
    x = (bunch.data / _BRIGHTEST).astype(np.float32)
    return Dataset(x, made.y, made.task, made.classes, tuple(bunch.feature_names), "digits")
