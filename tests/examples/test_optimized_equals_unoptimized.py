"""What the passes make of every example, all of them and each alone, computes what the example says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from graphc.cli import main
from graphc.cli.comparison import Expectation, compare, make_expectation, output_key, update_key
from graphc.cli.model_file import ModelFile
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.passes.pipeline import pass_names, run_pipeline
from tests.examples.loading import FOLDER

EXAMPLES = sorted(path for path in FOLDER.glob("*.py") if not path.name.startswith("_"))

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


def forms(graph: Graph) -> Iterator[tuple[str, Graph]]:
    """The graph after all passes, and after each alone that changes it."""
    yield "all passes", run_pipeline(graph, check=True)
    for name in pass_names():
        alone = run_pipeline(graph, only=[name], check=True)
        if alone is not graph:
            yield f"only {name}", alone


def differences(graph: Graph, expectation: Expectation) -> list[str]:
    """How what ``graph`` gives lies apart from what is expected, beyond what rounding may do."""
    outputs, states = evaluate(graph, expectation.inputs, expectation.states)
    got = {output_key(name): array for name, array in outputs.items()}
    got |= {update_key(name): array for name, array in states.items()}
    assert got.keys() == expectation.values.keys()
    found = (
        compare(what, got[what], expected, expectation.near_values[what], expectation.nodes[what].dtype)[1]
        for what, expected in expectation.values.items()
    )
    return [str(difference) for difference in found if difference is not None]


@pytest.mark.slow
@each_example
def test_passes_leave_the_results_alone(example: Path) -> None:
    module = ModelFile(str(example)).model().module
    for name, graph in module.entries.items():
        expectation = make_expectation(graph, module.states, seed=0)
        for what, form in forms(graph):
            assert not differences(form, expectation), f"{name} after {what}"


@pytest.mark.slow
@each_example
def test_native_code_gives_what_the_unoptimized_graph_gives(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["compare", str(example), "--backends", "llvm", "--quiet"])
    assert code == 0, capsys.readouterr()
