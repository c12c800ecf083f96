"""What a run found, as plain data that JSON can hold."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

OK, MISSING, UNSUPPORTED, LATE, FAILED, DIFFERENT = "ok", "missing", "unsupported", "late", "failed", "different"


@dataclass
class Measurement:
    """One peer on one workload.

    Attributes:
        status: ``ok``; ``missing`` (not installed), ``unsupported`` (the peer cannot), ``late`` (over the time limit),
            ``failed`` (an error), ``different`` (results that do not agree with the reference; not timed).
        reason: why it is not ``ok``.
        build_seconds: until the workload could be called, late compilation included.
        times: seconds of the timed calls.
        errors: what was compared → largest difference, relative to the largest value of the reference.
        info: what else the worker says, such as the size of the code.
    """

    status: str = OK
    reason: str = ""
    build_seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    errors: dict[str, float] = field(default_factory=dict)
    info: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Of the timed calls, in seconds."""
        return statistics.median(self.times)


@dataclass
class Row:
    """Every peer on one workload in one mode.

    Attributes:
        workload: its name.
        title: in tables.
        mode: ``infer`` or ``train``.
        threads: for every peer.
        batch: of the workload.
        limit: seconds, see :mod:`benchmarks.limits`.
        flops: of its products.
        steps: of the recurrence.
        series: of workloads that grow, whose compile time is looked at.
        peers: peer → measurement.
    """

    workload: str
    title: str
    mode: str
    threads: int
    batch: int
    limit: float
    flops: float
    steps: int = 0
    series: str = ""
    peers: dict[str, Measurement] = field(default_factory=dict)

    def timed(self) -> dict[str, float]:
        """Peer → median seconds, of those that were timed."""
        return {name: found.median for name, found in self.peers.items() if found.status == OK and found.times}

    def to_json(self) -> dict[str, Any]:
        """As JSON has it; times are summarized."""
        made = {key: value for key, value in asdict(self).items() if key != "peers"}
        made["peers"] = {name: _summary(found) for name, found in self.peers.items()}
        return made

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Row:
        """The other way round; only medians are left of the times."""
        peers = {name: _measurement(found) for name, found in value["peers"].items()}
        return cls(**{**value, "peers": peers})


def _summary(found: Measurement) -> dict[str, Any]:
    made = asdict(found)
    times = sorted(made.pop("times"))
    if times:
        count = len(times)
        made |= {
            "median": statistics.median(times),
            "minimum": times[0],
            "low_quartile": times[count // 4],
            "high_quartile": times[min(count - 1, 3 * count // 4)],
            "calls": count,
        }
    return made


def _measurement(value: Mapping[str, Any]) -> Measurement:
    known = {key: value[key] for key in ("status", "reason", "build_seconds", "errors", "info")}
    return Measurement(**known, times=[value["median"]] if "median" in value else [])
