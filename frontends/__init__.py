"""Frontends: each builds the same graph, from the DSL, layers, ONNX, torch, Keras or sympy."""
