"""The benchmarks: every workload builds and computes what NumPy computes, and the runner reports what it must."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import agreement, memory, report
from benchmarks.__main__ import main
from benchmarks.limits import Rates, limit
from benchmarks.peers import PEERS, PeerEntry
from benchmarks.peers import graphc as graphc_peer
from benchmarks.peers.base import Unsupported
from benchmarks.peers.graphc import GraphcPeer
from benchmarks.peers.numpy import NumpyKit, NumpyPeer, arguments, reference
from benchmarks.processes import Process, WorkerLate
from benchmarks.results import DIFFERENT, MISSING, OK, Measurement, Row
from benchmarks.runner import Plan, Runner
from benchmarks.spec import INFER, TRAIN, Data, Parameter, Product, Workload
from benchmarks.workloads import Case, cases, select


def _distinct() -> Iterator[Case]:
    """The cases whose tiny workloads differ."""
    seen = set()
    for case in cases().values():
        key = (case.make, repr(sorted({**case.arguments, **case.tiny}.items())))
        if key not in seen:
            seen.add(key)
            yield case


TINY = list(_distinct())


def _tiny(case: Case) -> Workload:
    return case.workload(tiny=True)


def _relative(value: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(value - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("case", [case for case in TINY if INFER in _tiny(case).modes], ids=lambda case: case.name)
def test_inference_agrees_with_numpy(case: Case) -> None:
    workload = _tiny(case)
    wanted = reference(workload, INFER)["output"]
    for peer in (GraphcPeer(1), NumpyPeer(1)):
        assert _relative(peer.prepare(workload, INFER).outputs()["output"], wanted) < 1e-5


@pytest.mark.parametrize("case", [case for case in TINY if TRAIN in _tiny(case).modes], ids=lambda case: case.name)
def test_a_training_step_follows_the_gradient(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step of one SGD update against differences of NumPy's loss in float64, along a direction for each weight."""
    monkeypatch.setattr(graphc_peer, "CHECKED_STEPS", 1)
    workload = dataclasses.replace(_tiny(case), optimizer="sgd", rate=1.0)
    found = GraphcPeer(1).prepare(workload, TRAIN).outputs()
    assert _relative(found["loss 0"], reference(workload, TRAIN)["loss 0"]) < 1e-5

    kit = NumpyKit(np.float64)
    kit.training = True
    inputs, weights = arguments(kit, workload)
    target = workload.target_values()

    def loss(name: str, moved: np.ndarray) -> float:
        return float(workload.loss(kit, workload.forward(kit, {**weights, name: moved}, inputs), target))

    for name, parameter in workload.parameters.items():
        if not parameter.trained:
            continue
        gradient = weights[name] - found[f"weight {name}"].astype(np.float64)
        # Along the gradient itself, so that there is a slope, and across it.
        across = np.random.default_rng(0).standard_normal(gradient.shape)
        for direction in (gradient / np.linalg.norm(gradient), across / np.linalg.norm(across)):
            step = 1e-4 * direction
            slope = (loss(name, weights[name] + step) - loss(name, weights[name] - step)) / 2e-4
            error = abs(slope - np.vdot(gradient, direction))
            assert error < 1e-3 * np.linalg.norm(gradient) + 1e-6, name


@pytest.mark.oracle
@pytest.mark.parametrize("case", TINY, ids=lambda case: case.name)
def test_torch_agrees(case: Case) -> None:
    from benchmarks.peers.torch_eager import TorchPeer

    workload = _tiny(case)
    for mode in workload.modes:
        row = _row(workload, mode, {"torch": Measurement(), "graphc": Measurement()})
        peers = {"torch": _without_threads(TorchPeer), "graphc": GraphcPeer(1)}
        results = {name: peer.prepare(workload, mode).outputs() for name, peer in peers.items()}
        agreement.compare(workload, mode, row, results)
        assert {name: found.reason for name, found in row.peers.items()} == {"torch": "", "graphc": ""}


@pytest.mark.oracle
def test_a_process_that_trains_is_smaller_than_torchs() -> None:
    sizes = memory.compare("lstm-t64-b32-h256", tiny=True)
    assert sizes["artifact"].peak < sizes["graphc"].peak < sizes["torch"].peak, sizes
    assert all(size.imported <= size.peak for size in sizes.values())


def _without_threads(peer: type) -> object:
    """A torch peer in this process, which may have set its threads already."""
    made = object.__new__(peer)
    made.threads = 1
    return made


class _Counted(np.ndarray):
    """An array that counts the arithmetic of the products it takes part in."""

    flops = 0.0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [np.asarray(value) if isinstance(value, _Counted) else value for value in inputs]
        if "out" in options:
            options["out"] = tuple(np.asarray(value) for value in options["out"])
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            _Counted.flops += 2.0 * result.size * plain[0].shape[-1]
        return result.view(_Counted) if isinstance(result, np.ndarray) else result


@pytest.mark.parametrize("case", TINY, ids=lambda case: case.name)
def test_the_limit_counts_every_product(case: Case) -> None:
    workload = _tiny(case)
    kit = NumpyKit()
    inputs, weights = arguments(kit, workload)
    counted = {name: value.view(_Counted) for name, value in weights.items()}
    data = {name: value if workload.inputs[name].classes else value.view(_Counted) for name, value in inputs.items()}
    _Counted.flops = 0.0
    workload.forward(kit, counted, data)
    assert _Counted.flops == sum(product.flops for product in workload.products)


def _toy(*products: Product) -> Workload:
    return Workload("toy", "toy", {"x": Data((1, 2))}, {"w": Parameter((2, 2))}, lambda kit, p, x: None, products)


def test_the_limit_is_arithmetic_or_bytes() -> None:
    rates = Rates(peak=100.0, bandwidth=((1_000, 40.0), (100_000, 20.0)))
    many = _toy(Product(50, 4, 5, input_gradient=False))
    assert limit(many, INFER, rates) == pytest.approx(2 * 50 * 4 * 5 / 100)
    assert limit(many, TRAIN, rates) == pytest.approx(2 * 2 * 50 * 4 * 5 / 100)
    assert limit(many, INFER, rates, threads=2) == pytest.approx(10)
    single = _toy(Product(1, 4, 5, count=10))
    assert limit(single, INFER, rates) == pytest.approx(10 * 4 * 4 * 5 / 40)
    large = _toy(Product(1, 100, 25))  # 10,000 bytes: half way between the two sizes, by their logarithms
    assert limit(large, INFER, rates) == pytest.approx(10_000 / 30)


def _row(workload: Workload, mode: str, peers: dict[str, Measurement]) -> Row:
    return Row(workload.name, workload.title, mode, 1, workload.batch, 1e-6, 1.0, peers=peers)


def test_a_peer_that_computes_something_else_is_not_timed() -> None:
    workload = cases()["mlp-b64"].workload(tiny=True)
    results = {name: NumpyPeer(1).prepare(workload, INFER).outputs() for name in ("graphc", "numpy")}
    results["numpy"]["output"][0, 0] += 0.1
    row = _row(workload, INFER, {name: Measurement(times=[1.0]) for name in results})
    agreement.compare(workload, INFER, row, results)
    assert (row.peers["graphc"].status, row.peers["numpy"].status) == (OK, DIFFERENT)
    assert "output" in report.notes([row]) and "≠" in report.table([row])


def test_a_different_update_of_a_weight_is_found() -> None:
    workload = cases()["mlp-b64"].workload(tiny=True)
    found = GraphcPeer(1).prepare(workload, TRAIN).outputs()
    wrong = {name: value.copy() for name, value in found.items()}
    start = workload.parameter_values()["1/w"]
    wrong["weight 1/w"] = start + 1.05 * (found["weight 1/w"] - start)
    row = _row(workload, TRAIN, {name: Measurement() for name in ("torch", "graphc")})
    agreement.compare(workload, TRAIN, row, {"torch": found, "graphc": wrong})
    assert row.peers["graphc"].status == DIFFERENT and row.peers["graphc"].reason.startswith("weight 1/w")


def test_a_late_worker_is_stopped_and_starts_again(tmp_path: Path) -> None:
    process = Process("numpy", 1, tmp_path)
    try:
        with pytest.raises(WorkerLate):
            process.ask("prepare", "mlp-b1", INFER, True, limit=0.0)
        process.ask("prepare", "mlp-b1", INFER, True, limit=60.0)
        assert len(process.ask("run", 3, 1, limit=60.0)) == 3
        with pytest.raises(Unsupported, match="does not differentiate"):
            process.ask("prepare", "mlp-b1", TRAIN, True, limit=60.0)
    finally:
        process.stop()


def test_a_missing_peer_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "torch", PeerEntry("torch", "torch", "torch_eager", "TorchPeer", ("no_such_module",)))
    rates = Rates(1e11, ((1_000, 1e11), (100_000, 1e11)))
    runner = Runner(["torch"], 1, Plan(tiny=True), tmp_path, rates)
    (row,) = runner.rows(select(["mlp-b1"]), [INFER])
    assert row.peers["torch"].status == MISSING
    assert "no_such_module" in report.notes([row]) and "missing" in report.table([row])


def test_unknown_workloads_are_refused() -> None:
    with pytest.raises(ValueError, match="no workload or suite 'lstm-t9'"):
        select(["lstm-t9"])
    assert {case.name for case in select(["lstm-*"])} >= {"lstm-t64-b32-h256"}


def test_ratios_and_means() -> None:
    def row(mode: str, batch: int, ours: float, **others: float) -> Row:
        times = {"graphc": ours, **others}
        peers = {name: Measurement(times=[seconds]) for name, seconds in times.items()}
        return Row("name", f"title {ours}", mode, 1, batch, 1.0, 1.0, peers=peers)

    rows = [row(INFER, 1, 2.0, torch=4.0, jax=3.0), row(INFER, 32, 2.0, torch=4.0), row(INFER, 32, 4.0, numpy=2.0)]
    assert [report.ratio(each) for each in rows] == [1.5, 2.0, 0.5]
    assert report.share(rows[2]) == 0.25
    assert "several rows: best rival / graphc 1.00 in the geometric mean of 2, at least 0.50" in report.means(rows)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, picture = tmp_path / "results.json", tmp_path / "plot.png"
    chosen = ["--workloads", "mlp-b64", "unrolled-gru-t16", "--peers", "graphc", "numpy", "graphc-numpy"]
    written = ["--json", str(results), "--plot", str(picture)]
    assert main([*chosen, "--tiny", "--quick", *written]) == 0
    shown = capsys.readouterr().out
    content = json.loads(results.read_text())
    assert [(row["workload"], row["mode"]) for row in content["rows"]] == [
        ("mlp-b64", INFER),
        ("mlp-b64", TRAIN),
        ("unrolled-gru-t16", TRAIN),
    ]
    statuses = [{name: found["status"] for name, found in row["peers"].items()} for row in content["rows"]]
    assert statuses[0] == {"graphc": OK, "numpy": OK, "graphc-numpy": OK}
    assert statuses[1] == statuses[2] == {"graphc": OK, "numpy": "unsupported", "graphc-numpy": OK}
    for row in content["rows"]:
        ours = row["peers"]["graphc"]
        assert 0 < ours["minimum"] <= ours["median"] and ours["build_seconds"] > 0 and ours["info"]["object_bytes"] > 0
        assert max(ours["errors"].values()) < 1e-5 and math.isfinite(row["limit"])
    assert content["versions"]["numpy"] == np.__version__ and content["rates"]["peak"] > 1e9
    assert "NumPy: unsupported, NumPy does not differentiate" in shown
    assert picture.stat().st_size > 1000
    assert main(["--show", str(results)]) == 0
    assert capsys.readouterr().out == shown
