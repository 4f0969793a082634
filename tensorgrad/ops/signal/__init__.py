"""Signals: the operations of `tg.signal`."""
