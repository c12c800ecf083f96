"""Backends: each turns a graph or a program into code (NumPy source, native code through LLVM, CUDA source)."""
