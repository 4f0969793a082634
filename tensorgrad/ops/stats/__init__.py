"""Distributions: the operations of `tg.stats`."""
