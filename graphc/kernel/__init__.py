"""The kernel level: fusion groups become LoopIR, calls of kernels become a Program with one planned arena."""
