"""Special functions: the operations of `tg.special`."""

from tensorgrad.core.registry import also

also("special", erf="erf", erfc="erfc", expit="sigmoid", log_expit="log_sigmoid")
also("special", softmax="softmax", log_softmax="log_softmax", logsumexp="logsumexp")
