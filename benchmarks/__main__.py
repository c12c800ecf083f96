"""Run graphc and its peers side by side: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import limits, machine, report
from benchmarks.peers import OURS, PEERS
from benchmarks.processes import cores
from benchmarks.results import OK, UNSUPPORTED, Row
from benchmarks.runner import QUICK, Plan, Runner
from benchmarks.spec import INFER, MODES, TRAIN
from benchmarks.workloads import SUITES, Case, cases, select


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument(
        "--workloads", nargs="+", default=["core"], metavar="NAME", help=f"suites ({', '.join(SUITES)}, all), names, *"
    )
    made.add_argument("--peers", nargs="+", metavar="NAME", choices=list(PEERS), help=", ".join(PEERS))
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--infer", action="store_true", help="inference only")
    made.add_argument("--train", action="store_true", help="training only")
    made.add_argument("--quick", action="store_true", help="few repetitions: to see that it works")
    made.add_argument("--tiny", action="store_true", help="workloads of a size for tests")
    made.add_argument("--setup-limit", type=float, help="seconds until a peer must be ready")
    made.add_argument("--rounds", type=int, help="turns of each peer")
    made.add_argument("--cache", type=Path, help="keep what libraries compile here, for the next run")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    made.add_argument("--plot", type=Path, metavar="FILE", help="write a picture (PNG, SVG)")
    made.add_argument("--show", type=Path, nargs="+", metavar="FILE", help="print what --json wrote, run nothing")
    made.add_argument("--list", action="store_true", help="print suites and workloads, run nothing")
    return made


def plan_of(options: argparse.Namespace) -> Plan:
    """How much is measured."""
    plan = dataclasses.replace(QUICK if options.quick else Plan(), tiny=options.tiny)
    if options.setup_limit:
        plan = dataclasses.replace(plan, setup_limit=options.setup_limit)
    return dataclasses.replace(plan, rounds=options.rounds) if options.rounds else plan


@contextlib.contextmanager
def cache_folder(given: Path | None) -> Iterator[Path]:
    """The folder asked for, or one that goes away, so that every compilation is a first one."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="graphc-benchmarks-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def run(options: argparse.Namespace, chosen: Sequence[Case]) -> tuple[dict[str, Any], list[Row]]:
    """Measure what was asked for, with a line for each workload on standard error.

    Results are written after every workload, so that a run that is stopped leaves what it has.
    """
    modes = [INFER] * options.infer + [TRAIN] * options.train or list(MODES)
    rates = limits.measure()
    facts: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": {},
        "rates": dataclasses.asdict(rates),
        "options": {"threads": options.threads, "quick": options.quick, "tiny": options.tiny},
    }
    rows: list[Row] = []
    with cache_folder(options.cache) as cache:
        runner = Runner(options.peers, options.threads, plan_of(options), cache, rates)
        try:
            for row in runner.rows(chosen, modes):
                rows.append(row)
                print(progress(row), file=sys.stderr, flush=True)
                facts["versions"] = runner.versions()
                save(options.json, facts, rows)
        finally:
            runner.close()
    rates = rates.better(limits.measure())
    facts["rates"] = dataclasses.asdict(rates)
    known = cases()
    for row in rows:
        row.limit = limits.limit(known[row.workload].workload(options.tiny), row.mode, rates, row.threads)
    save(options.json, facts, rows)
    return facts, rows


def save(path: Path | None, facts: dict[str, Any], rows: Sequence[Row]) -> None:
    """Write JSON, where it was asked for."""
    if path is not None:
        content = {**facts, "rows": [row.to_json() for row in rows]}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def progress(row: Row) -> str:
    """A line about a finished workload."""
    timed = row.timed()
    cells = [
        f"{name} {f'{timed[name] * 1e6:.0f}' if name in timed else found.status}" for name, found in row.peers.items()
    ]
    return f"{row.workload} {row.mode}: {', '.join(cells)} µs; limit {row.limit * 1e6:.0f}"


def load(paths: Sequence[Path]) -> tuple[dict[str, Any], list[Row]]:
    """What ``--json`` wrote; the facts are the first file's."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    rows = [Row.from_json(row) for content in files for row in content["rows"]]
    return {key: value for key, value in files[0].items() if key != "rows"}, rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write."""
    options = parser().parse_args(arguments)
    if options.list:
        for suite, members in SUITES.items():
            print(f"{suite}: {' '.join(case.name for case in members)}")
        return 0
    if options.show:
        facts, rows = load(options.show)
    else:
        try:
            chosen = select(options.workloads)
            cores(options.threads)
        except ValueError as fault:
            parser().error(str(fault))
        facts, rows = run(options, chosen)
    print(report.text(facts, rows))
    if options.plot:
        report.plot(options.plot, facts, rows)
    wrong = [row for row in rows if OURS in row.peers and row.peers[OURS].status not in (OK, UNSUPPORTED)]
    return 1 if wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that no worker stays behind
    sys.exit(main())
