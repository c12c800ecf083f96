"""graphc compiles static dataflow graphs to NumPy source, native code and CUDA source.

``import graphc as G`` is the whole public surface; every name loads its module on first use, so that importing
graphc costs little more than importing numpy.
"""

from graphc import _checkout, _facade

_checkout.install()

__version__ = "0.1.0"

_DSL = "graphc.frontends.dsl"
_DRIVER = "graphc.driver"
_ERRORS = "graphc.errors"

# Public name → the module that defines it.
_LAZY: dict[str, str] = {
    # building a model
    "Model": _DSL,
    "Tensor": _DSL,
    "constant": _DSL,
    "grad": _DSL,
    "input": _DSL,
    "jvp": _DSL,
    "parameter": _DSL,
    "pointwise": _DSL,
    "training": _DSL,
    "vjp": _DSL,
    # compiling and loading
    "compile": _DRIVER,
    "load": _DRIVER,
    # imports from elsewhere
    "from_keras": "graphc.frontends.keras",
    "from_onnx": "graphc.frontends.onnx",
    "from_sympy": "graphc.frontends.sympy",
    "from_torch": "graphc.frontends.torch",
    # errors
    "GraphcError": _ERRORS,
    "GraphcImportError": _ERRORS,
    "GraphcIndexError": _ERRORS,
    "GraphcKeyError": _ERRORS,
    "GraphcMemoryError": _ERRORS,
    "GraphcOSError": _ERRORS,
    "GraphcRuntimeError": _ERRORS,
    "GraphcTypeError": _ERRORS,
    "GraphcValueError": _ERRORS,
    "UnsupportedOp": _ERRORS,
    "VerificationError": _ERRORS,
    # façades
    "nn": "graphc.nn",
    "optim": "graphc.optim",
}

__all__ = ["__version__", *sorted(_LAZY)]  # noqa: PLE0604  (the table holds strings)

__getattr__, __dir__ = _facade.lazy_names(__name__, _LAZY)
