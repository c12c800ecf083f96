"""Who may import whom: each package of graphc sees only what lies below it, and heavy libraries stay in their place."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Lowest first; packages of one rank do not see each other, save for _SIBLINGS.
_RANKS = (
    ("errors", "config", "clock", "interrupts"),
    ("ir",),
    ("ops",),
    ("autodiff", "passes"),
    ("kernel",),
    ("artifact",),
    ("debug", "render"),
    ("budget", "cache", "sizes"),
    ("driver",),
    ("cli",),
    ("__main__",),
)
_RANK = {name: rank for rank, names in enumerate(_RANKS) for name in names}
_SIBLINGS = {("config", "errors")}
_FRONTEND_SEES = {"errors", "ir", "ops", "autodiff"}
_RUNNING_FRONTENDS = ("frontends.nn.training", "frontends.onnx.backend", "frontends.torch.dynamo", "frontends.sklearn")
_BACKEND_SEES = {"errors", "config", "clock", "ir", "ops", "kernel", "artifact"}
_FACADES = {"graphc", "graphc.nn", "graphc.optim", "graphc.sklearn", "graphc._facade", "graphc._checkout"}
_COPIED = "graphc.artifact.runtime"
_HOME_OF = {"llvmlite": "graphc.backends.llvm", "graphviz": "graphc.render"}


def _modules() -> Iterator[tuple[str, Path]]:
    """Every module of the three folders under the name it is imported by."""
    for top in ("graphc", "frontends", "backends"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts if top == "graphc" else ("graphc", *parts)
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _imports(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """(imported name, line, runs when the module is loaded) of every import."""
    pending: list[tuple[ast.AST, bool]] = [(tree, True)]
    while pending:
        node, top = pending.pop()
        match node:
            case ast.Import():
                yield from ((alias.name, node.lineno, top) for alias in node.names)
            case ast.ImportFrom():
                prefix = "." * node.level + (f"{node.module}." if node.module else "")
                yield from ((prefix + alias.name, node.lineno, top) for alias in node.names)
            case ast.If() if _is_type_checking(node):
                pending.extend((child, False) for child in node.body)
                pending.extend((child, top) for child in node.orelse)
            case _:
                inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                pending.extend((child, top and not inside) for child in ast.iter_child_nodes(node))


def _inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _fault(module: str, name: str, at_module_level: bool) -> str | None:
    """Say what is wrong with ``module`` importing ``name``, if anything is."""
    first = name.split(".", maxsplit=1)[0]
    if first == "" and _inside(module, _COPIED) and not name.startswith(".."):
        # Copied into every artifact: it knows its own folder and nothing else.
        return None
    if _inside(module, _COPIED) and first == "graphc" and module != f"{_COPIED}.errors":
        # (Its errors module is graphc's own errors here, and a copy of them in an artifact.)
        return "the runtime is copied into artifacts and must not need graphc"
    if first in ("", "frontends", "backends"):
        return "import graphc modules by their absolute name, graphc..."
    if first == "sympy" and at_module_level:
        return "sympy is imported inside the function that needs it"
    if first in _HOME_OF and not _inside(module, _HOME_OF[first]):
        return f"{first} belongs in {_HOME_OF[first]}"
    if first != "graphc" or module in _FACADES or module.startswith(("graphc.nn.", "graphc.optim.")):
        return None
    return _fault_of_layer(module.removeprefix("graphc."), name.removeprefix("graphc."))


def _fault_of_layer(module: str, name: str) -> str | None:
    own, *own_rest = module.split(".")
    seen, *seen_rest = name.split(".")
    if own in ("frontends", "backends"):
        allowed = _FRONTEND_SEES if own == "frontends" else _BACKEND_SEES
        if seen == own:
            foreign = own == "backends" and own_rest and seen_rest and own_rest[0] != seen_rest[0]
            return "backends do not see each other" if foreign else None
        if seen in ("driver", "interrupts") and any(_inside(module, running) for running in _RUNNING_FRONTENDS):
            return None
        return None if seen in allowed or seen == "__version__" else f"{own} do not see graphc.{seen}"
    if own == "cli" and name == "graphc":
        return None  # the command line uses the public surface, as a user would
    if own not in _RANK:
        return f"graphc.{own} has no place in the layering"
    if seen in (own, "__version__", "_LOADED") or (own, seen) in _SIBLINGS:
        return None
    if seen not in _RANK:
        return f"graphc.{own} does not see graphc.{seen}"
    return None if _RANK[seen] < _RANK[own] else f"graphc.{own} lies below graphc.{seen}"


def test_every_import_respects_the_layers() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line}: imports {name}: {fault}"
        for module, path in _modules()
        for name, line, top in _imports(ast.parse(path.read_text(encoding="utf-8")))
        if (fault := _fault(module, name, top))
    ]
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize(
    ("module", "line", "allowed"),
    [
        ("graphc.ir.node", "from graphc import ops", False),
        ("graphc.ir.node", "from graphc.ops.linalg import matmul", False),
        ("graphc.ops.linalg", "from graphc.ir import node", True),
        ("graphc.passes.roll", "from graphc.autodiff import reverse", False),
        ("graphc.kernel.lower", "from graphc.driver import compile", False),
        ("graphc.driver", "from graphc.frontends.dsl import Model", False),
        ("graphc.frontends.dsl", "from graphc.passes import roll", False),
        ("graphc.frontends.dsl", "from graphc.driver import compile", False),
        ("graphc.frontends.onnx.backend", "from graphc.driver import compile", True),
        ("graphc.backends.llvm.emit", "import llvmlite.binding", True),
        ("graphc.backends.llvm.emit", "from graphc.backends.numpy import emit", False),
        ("graphc.backends.llvm.emit", "from graphc.frontends.dsl import Model", False),
        ("graphc.cli.render", "import graphviz", False),
        ("graphc.ops.elementwise", "import sympy", False),
        ("graphc.ops.elementwise", "def f():\n    import sympy", True),
        ("graphc.ops.elementwise", "if TYPE_CHECKING:\n    import sympy", True),
        ("graphc.ops.elementwise", "if TYPE_CHECKING:\n    from graphc.passes import roll", False),
        ("graphc.cli.run", "from frontends.dsl import Model", False),
        ("graphc.cli.run", "from . import common", False),
    ],
)
def test_the_rule_itself(module: str, line: str, allowed: bool) -> None:
    [(name, _, top)] = _imports(ast.parse(line))
    assert (_fault(module, name, top) is None) == allowed
