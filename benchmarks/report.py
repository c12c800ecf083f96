"""Tables, notes and the plot of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import OURS, PEERS
from benchmarks.results import DIFFERENT, FAILED, LATE, MISSING, OK, UNSUPPORTED, Row
from benchmarks.spec import INFER, TRAIN

_MARKS = {MISSING: "missing", UNSUPPORTED: "–", LATE: "late", FAILED: "failed", DIFFERENT: "≠"}


def best_rival(row: Row) -> tuple[str, float] | None:
    """The fastest peer other than graphc, and its seconds."""
    timed = {name: seconds for name, seconds in row.timed().items() if PEERS[name].rival}
    return min(timed.items(), key=lambda item: item[1]) if timed else None


def ratio(row: Row) -> float | None:
    """The best rival's time over ours: above 1 we are faster."""
    best, ours = best_rival(row), row.timed().get(OURS)
    return best[1] / ours if best and ours else None


def share(row: Row) -> float | None:
    """The limit over our time."""
    ours = row.timed().get(OURS)
    return row.limit / ours if ours else None


def peers_of(rows: Sequence[Row]) -> list[str]:
    """Those that take part somewhere, in the order of the tables."""
    return [name for name in PEERS if any(name in row.peers for row in rows)]


def table(rows: Sequence[Row]) -> str:
    """Microseconds of each peer, the best rival over graphc, the limit, and what share of it graphc reaches."""
    shown = peers_of(rows)
    header = ["workload", *(PEERS[name].title for name in shown), "best rival / graphc", "limit", "of the limit"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        best = best_rival(row)
        cells = [_cell(row, name, best is not None and best[0] == name) for name in shown]
        found, reached = ratio(row), share(row)
        lines.append(
            [
                row.title,
                *cells,
                f"{found:.2f}" if found else "",
                _microseconds(row.limit),
                f"{reached:.0%}" if reached else "",
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(row: Row, name: str, is_best: bool) -> str:
    found = row.peers.get(name)
    if found is None:
        return ""
    if found.status != OK:
        return _MARKS[found.status]
    text = _microseconds(found.median)
    return f"**{text}**" if is_best else text


def _microseconds(seconds: float) -> str:
    micro = seconds * 1e6
    return f"{micro:,.0f}" if micro >= 99.5 else f"{micro:.3g}"


def compile_table(rows: Sequence[Row]) -> str:
    """Of workloads that grow: seconds until a step can be called, milliseconds of it, and the size of graphc's code."""
    shown = peers_of(rows)
    header = ["workload", *(PEERS[name].title for name in shown), "graphc, a time step", "graphc's code", "limit"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        cells = []
        for name in shown:
            found = row.peers.get(name)
            timed = found is not None and found.status == OK
            text = f"{found.build_seconds:.2f} s, {found.median * 1e3:.2f} ms" if timed else _cell(row, name, False)
            cells.append(text)
        ours = row.peers.get(OURS)
        ours = ours if ours is not None and ours.status == OK else None
        size = ours.info.get("object_bytes", 0.0) / 1024 if ours else 0.0
        cells.append(f"{ours.median * 1e6 / row.steps:.1f} µs" if ours and row.steps else "")
        cells += [f"{size:.1f} KB" if size else "", f"{row.limit * 1e3:.2f} ms"]
        lines.append([row.title, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def groups(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows for which one mean makes sense: by mode, and inference by whether rows share the weights."""
    rows = list(rows)
    yield "inference, one row", [row for row in rows if row.mode == INFER and row.batch == 1]
    yield "inference, several rows", [row for row in rows if row.mode == INFER and row.batch > 1]
    yield "training", [row for row in rows if row.mode == TRAIN]


def means(rows: Sequence[Row]) -> str:
    """Geometric means of the ratios, and the smallest."""
    lines = []
    for name, members in groups(rows):
        found = [(value, row.title) for row in members if (value := ratio(row)) is not None]
        reached = [(value, row.title) for row in members if (value := share(row)) is not None]
        if not found or not reached:
            continue
        mean = math.exp(sum(math.log(value) for value, _ in found) / len(found))
        worst, lowest = min(found), min(reached)
        lines.append(
            f"{name}: best rival / graphc {mean:.2f} in the geometric mean of {len(found)}, at least {worst[0]:.2f} "
            f"({worst[1]}); at least {lowest[0]:.0%} of the limit ({lowest[1]})"
        )
    return "\n".join(lines)


def notes(rows: Sequence[Row]) -> str:
    """Why cells have no figure: nothing is left out silently."""
    reasons: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        for name, found in row.peers.items():
            if found.status != OK:
                reason = found.reason.splitlines()[-1] if found.reason else ""
                reasons.setdefault((name, found.status, reason), []).append(row)
    return "\n".join(
        f"{PEERS[name].title}: {status}, {reason} ({'; '.join(_where(name, found, rows))})"
        for (name, status, reason), found in reasons.items()
    )


def _where(peer: str, found: Sequence[Row], rows: Sequence[Row]) -> Iterator[str]:
    """The rows in words, mode by mode; "all" where they are all those of the mode in which the peer takes part."""
    for mode, word in ((INFER, "inference"), (TRAIN, "training")):
        titles = [row.title for row in found if row.mode == mode]
        everything = [row for row in rows if row.mode == mode and peer in row.peers]
        if titles:
            yield f"all {word}" if len(titles) == len(everything) > 1 else f"{word}: {', '.join(titles)}"


def header(facts: Mapping[str, Any]) -> str:
    """The machine and the versions."""
    machine, rates = facts["machine"], facts["rates"]
    bandwidth = dict(rates["bandwidth"])
    chosen = ", ".join(
        f"{bandwidth[size] / 1e9:.0f} GB/s from {_size(size)}" for size in (1 << 18, 1 << 20, 1 << 22, 1 << 27)
    )
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['date']}, revision {machine['revision']}\n"
        f"one core: {rates['peak'] / 1e9:.0f} GFLOP/s, {chosen}\n"
        f"Python {machine['python']}, {versions}"
    )


def _size(size: int) -> str:
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} KB"


def text(facts: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Everything, as Markdown."""
    parts = [header(facts)]
    for threads in sorted({row.threads for row in rows}):
        here = [row for row in rows if row.threads == threads]
        counted = f"{threads} thread{'s' if threads > 1 else ''}"
        for mode, title in ((INFER, "Inference"), (TRAIN, "Training step")):
            chosen = [row for row in here if row.mode == mode and not row.series]
            if chosen:
                parts += [f"{title}, {counted}, microseconds", table(chosen)]
        parts.append(means([row for row in here if not row.series]))
        growing = [row for row in here if row.series]
        if growing:
            parts += [f"Compiling a training step with Adam, then running it, {counted}", compile_table(growing)]
    parts.append(notes(rows))
    return "\n\n".join(part for part in parts if part)


def plot(path: Path, facts: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Every peer's time over graphc's, and the limit's, a line a workload on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in rows if OURS in row.timed()]
    if not shown:
        return
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.28 * len(shown)), layout="constrained")
    markers = "osD^v<>PX*"
    for index, name in enumerate(peers_of(shown)):
        points = [(row.timed()[name] / row.timed()[OURS], y) for y, row in enumerate(shown) if name in row.timed()]
        if points and name != OURS:
            across, down = zip(*points, strict=True)
            axes.scatter(across, down, marker=markers[index % len(markers)], s=28, label=PEERS[name].title, zorder=3)
    axes.scatter(
        [row.limit / row.timed()[OURS] for row in shown], range(len(shown)), marker="|", color="black", label="limit"
    )
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(shown)), [f"{row.title}, {row.mode}" for row in shown], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", which="both", linewidth=0.3)
    axes.set_xlabel("time of the peer over time of graphc: right of 1, graphc is faster")
    axes.set_title(f"{facts['machine']['processor']}, {facts['machine']['date']}", fontsize=8)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
