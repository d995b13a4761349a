"""All-reduce times measured on A100 and H100 against the tables that the search uses.

Two numbers are fitted to each (device, library): the launch (alpha) and the share of the link rate; all
else is the catalogue's. A library runs what it has: NCCL rings in one node, with flags for short
messages and in bulk for long ones; TensorRT-LLM's kernel sends to all peers at once, and leaves what is
longer to NCCL's rings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from dse.calibration.predict import NO_LIMIT, textbook
from dse.catalog.catalog import Catalog
from dse.core.axes import GROUPS, LINES
from dse.core.units import FloatArray
from dse.hardware.assemble import FORMS, assemble
from dse.space.limits import Limit
from tests.validation.evidence.edge_devices import published

DEVICES: Final = {
    "H100 SXM": ("h100_sxm", "switch"),
    "A100 SXM 80GB": ("a100_sxm", "switch"),
    "A100 NVLink3": ("a100_sxm", "full"),
}
"""label -> device file and how its ranks are joined; the last is a node of four GPUs with links between each two"""


LIBRARIES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "NCCL": (("ring", "flags"), ("ring", "bulk")),
    "TRT-LLM custom": (("one_shot", "direct"), ("ring", "flags"), ("ring", "bulk")),
}


EFFICIENCY: Final = (0.5, 0.95)


LAUNCH: Final = (2e-7, 4e-5)


SIZES: Final = (("to 64 kB", 65536.0), ("to 4 MB", 4194304.0), ("above", np.inf))
"""classes of message size, B"""


@dataclass(frozen=True)
class Reduce:
    """One measured all-reduce."""

    device: str
    library: str
    ranks: int
    size: float
    """B"""
    measured: float
    """s"""

    @property
    def size_class(self) -> str:
        """Which of SIZES it is of."""
        return next(name for name, most in SIZES if self.size <= most)


@dataclass(frozen=True)
class Fit:
    """What is fitted to a device and a library."""

    launch: float
    efficiency: float


def measured() -> list[Reduce]:
    """Measured rows of all-reduces."""
    out = []
    for r in published():
        if r["metric"] == "allreduce_latency":
            library = next(name for name in LIBRARIES if r["system"].startswith(name))
            size = float(r["model"].split()[1])
            out.append(Reduce(r["device"], library, int(r["n_devices"]), size, float(r["value"]) * 1e-6))
    return out


def lines(catalog: Catalog, device: str, library: str, ranks: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Seconds without launch, and seconds per byte at the full link rate, (ranks, lines of the library)."""
    name, topology = DEVICES[device]
    form = FORMS["datacenter"]
    parts = form.device_parts(catalog, [name], "")
    network = replace(parts.network, topology=np.array([catalog.names("topology").index(topology)]))
    if topology == "full":  # a small node is a domain of its own
        network = replace(network, domain=np.array([float(max(ranks))]))
    m = assemble(replace(parts, network=network), form, catalog, textbook(), {Limit.RACK_POWER: NO_LIMIT})
    engine = catalog.names("collective")[int(parts.network.engine[0])]
    at = [LINES.index(line) for line in LIBRARIES[library]]
    rows = [GROUPS.index(n) for n in ranks]
    return m.network.reduce_alpha[0][np.ix_(rows, at)] - catalog.value(
        "collective", engine, "launch_latency"
    ), m.network.reduce_rate[0][np.ix_(rows, at)]


def predicted(catalog: Catalog, rows: Sequence[Reduce], fit: Fit) -> FloatArray:
    """Seconds of the library's fastest way, rows of one device and library."""
    alpha, rate = lines(catalog, rows[0].device, rows[0].library, [r.ranks for r in rows])
    return _times(alpha, rate, np.array([r.size for r in rows]), fit)


def _times(alpha: FloatArray, rate: FloatArray, size: FloatArray, fit: Fit) -> FloatArray:
    out: FloatArray = (fit.launch + alpha + rate * size[:, None] / fit.efficiency).min(axis=1)
    return out


def fitted(catalog: Catalog, rows: Sequence[Reduce]) -> Fit:
    """Launch and efficiency with the least robust relative error over rows of one device and library."""
    alpha, rate = lines(catalog, rows[0].device, rows[0].library, [r.ranks for r in rows])
    size, took = np.array([r.size for r in rows]), np.array([r.measured for r in rows])

    def off(x: FloatArray) -> FloatArray:
        out: FloatArray = np.log(_times(alpha, rate, size, Fit(float(np.exp(x[0])), float(x[1]))) / took)
        return out

    bounds = ([np.log(LAUNCH[0]), EFFICIENCY[0]], [np.log(LAUNCH[1]), EFFICIENCY[1]])
    starts = [(np.log(launch), eff) for launch in (1e-6, 3e-6, 1e-5) for eff in (0.6, 0.8)]
    tried = [least_squares(off, x0, bounds=bounds, loss="soft_l1", f_scale=0.1) for x0 in starts]
    best = min(tried, key=lambda t: t.cost)
    return Fit(float(np.exp(best.x[0])), float(best.x[1]))


def grouped(rows: Iterable[Reduce]) -> dict[tuple[str, str], list[Reduce]]:
    """Rows by device and library."""
    out: dict[tuple[str, str], list[Reduce]] = {}
    for r in rows:
        out.setdefault((r.device, r.library), []).append(r)
    return out


@dataclass(frozen=True)
class Scored:
    """A device and a library: its fit, errors of its rows, and of 8 ranks by the fit to 4."""

    device: str
    library: str
    fit: Fit
    rows: tuple[Reduce, ...]
    errors: FloatArray
    """predicted over measured, less 1"""
    carried: FloatArray
    """the same of rows of 8 ranks, launch and efficiency fitted to 4; empty where only 4 were measured"""

    def mape(self, size_class: str | None = None) -> float:
        """Mean absolute relative error, of a class of sizes or all; NaN where none was measured."""
        some = [
            abs(e) for e, r in zip(self.errors, self.rows, strict=True) if size_class in {None, r.size_class}
        ]
        return float(np.mean(some)) if some else float("nan")


def scores(catalog: Catalog) -> list[Scored]:
    """Every device and library."""
    out = []
    for (device, library), rows in grouped(measured()).items():
        took = np.array([r.measured for r in rows])
        fit = fitted(catalog, rows)
        four, eight = ([r for r in rows if r.ranks == n] for n in (4, 8))
        carried = np.zeros(0)
        if eight:
            carried = (
                predicted(catalog, eight, fitted(catalog, four)) / np.array([r.measured for r in eight]) - 1.0
            )
        out.append(
            Scored(device, library, fit, tuple(rows), predicted(catalog, rows, fit) / took - 1.0, carried)
        )
    return out


def table(found: Sequence[Scored]) -> list[list[str]]:
    """Rows of text: device, library, launch, efficiency, errors by class of size, all, and 8 ranks by 4."""
    out = []
    for s in found:
        cells = [f"{100 * s.mape(name):.0f} %" if s.mape(name) == s.mape(name) else "-" for name, _ in SIZES]
        carried = f"{100 * float(np.mean(np.abs(s.carried))):.0f} %" if len(s.carried) else "-"
        out.append([s.device, s.library, f"{s.fit.launch * 1e6:.1f} us", f"{s.fit.efficiency:.2f}", *cells,
                    f"{100 * s.mape():.0f} %", carried])  # fmt: skip
    every = np.concatenate([s.errors for s in found])
    eight = np.concatenate([s.carried for s in found])
    by_class = [np.mean([abs(e) for s in found for e, r in zip(s.errors, s.rows, strict=True) if r.size_class == name]) for name, _ in SIZES]  # fmt: skip
    return [*out, ["all", "", "", "", *(f"{100 * float(x):.0f} %" for x in by_class), f"{100 * float(np.mean(np.abs(every))):.1f} %",
                   f"{100 * float(np.mean(np.abs(eight))):.1f} %"]]  # fmt: skip


HEADER: Final = (
    "device",
    "library",
    "launch",
    "efficiency",
    *(name for name, _ in SIZES),
    "all sizes",
    "8 ranks, fitted to 4",
)
