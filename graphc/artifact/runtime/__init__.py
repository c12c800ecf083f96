"""The Python beside compiled code: what a user of a model calls.

This package is copied as it stands into every artifact (as ``_runtime``), where it must work without graphc: its
modules import the standard library, numpy and one another, the latter relatively.  Inside graphc the same modules
serve models that were compiled in memory. The one file that differs is ``errors.py``: in an artifact it is a copy of
``graphc/errors.py``, here it forwards to it, so that a model raises graphc's own exceptions wherever graphc is.
"""
