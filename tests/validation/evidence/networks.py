"""Published results about networks and collectives beside ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path

from dse.calibration.cases import Case, RankPlan
from dse.calibration.predict import NO_LIMIT, machines, prepare, soft_rows, textbook, times
from dse.catalog.catalog import Catalog
from dse.core.axes import GROUPS, LINES
from dse.hardware.assemble import FORMS, assemble
from dse.physics import collective, topology
from dse.physics.network_shape import NetworkShape
from dse.space.limits import Limit
from dse.space.scenario import ModelLoad
from tests.validation.evidence.all_reduce import Fit, Reduce, fitted, grouped, measured, predicted
from tests.validation.evidence.published_result import Inputs, PublishedResult, against, kind_of, rows

Ours = Callable[[Catalog, Inputs], float]


GIGA: Final = 1e9


MTP: Final = 0.85
"""share of single drafted tokens that DeepSeek reports as accepted (80 to 90 %); the rows that draft state none"""


def _clos(endpoints: int, ports: int) -> NetworkShape:
    return topology.shape("clos", endpoints, endpoints, ports)


def _whole(volume: float, ranks: int) -> float:
    """A volume with (g - 1) / g taken as 1, as the scaling book does."""
    return volume * ranks / (ranks - 1.0)


def _gather(i: Inputs, kind: str) -> float:
    """Seconds to gather a rank's slices along one axis, or over both, of a torus."""
    size, rate = float(i["bytes_full_array"]), float(i["ici_gb_s_bidirectional_per_axis"]) * GIGA
    if kind == "both":
        return _whole(_volume("all_gather", "ring", topology.shape("torus2d", 16)), 16) * size / (2 * rate)
    axis = int(i["axis"])
    shape, each = topology.shape("ring", axis), size / float(i["other_axis_shard"]) / rate
    if kind == "one":
        return _whole(_volume("all_gather", "ring", shape), axis) * each
    # a rank holds 1 / axis of the array and sends (axis - 1) / axis of that
    return (
        _whole(collective.all_to_all(shape).volume * (axis - 1) / axis / axis, axis)
        * (axis - 1)
        / axis
        * each
    )


def _volume(kind: str, algorithm: str, shape: NetworkShape) -> float:
    cost = collective.cost(kind, algorithm, shape)
    assert cost is not None  # noqa: S101 - asked of networks that run it
    return cost.volume


def _quarter(ranks: int = 512) -> float:
    """All-to-all over all-gather of one vector on a long ring."""
    shape = topology.shape("ring", ranks)
    sent = (ranks - 1.0) / ranks / ranks
    return collective.all_to_all(shape).volume * sent / _volume("all_gather", "ring", shape)


def _slim_fly(q: int = 5) -> float:
    """Diameter of the McKay-Miller-Siran graph of q = 5, 50 routers, that Slim Fly is built of."""
    squares, others = {x * x % q for x in range(1, q)}, set(range(1, q)) - {x * x % q for x in range(1, q)}
    ends = []
    for x in range(q):
        for y in range(q):
            ends += [(x * q + y, x * q + (y + d) % q) for d in squares]
            ends += [(q * q + x * q + y, q * q + x * q + (y + d) % q) for d in others]
            ends += [(x * q + y, q * q + m * q + (y - m * x) % q) for m in range(q)]
    at = np.array(ends)
    graph = csr_array((np.ones(len(at)), (at[:, 0], at[:, 1])), shape=(2 * q * q,) * 2)
    return float(shortest_path(graph, directed=False, unweighted=True).max())


def _card(catalog: Catalog, crossed: int, level: str) -> float:
    """Microseconds of a small message between two cards: across leaves, less the switches that a leaf spares."""
    values = catalog.entry("link", "scale_out").values
    whole, each = getattr(values["latency"], level), getattr(values["switch_latency"], level)
    return float(1e6 * (whole - (3 - crossed) * each))


def _nvlink(catalog: Catalog) -> float:
    """Microseconds of a small message between two GPUs over their switch, launch included."""
    return float(1e6 * machines(catalog, ["h800"]).network.point_to_point_alpha[0])


def _two_nodes(catalog: Catalog, i: Inputs) -> float:
    """Time of an all-to-all byte over two nodes against one, each rank with a card."""
    rig = catalog.replace("link", "scale_out", "bandwidth", i["per_gpu_inter_node_gb_s"] * GIGA)
    rate = machines(rig, ["h100_sxm"]).network.exchange_rate[0]
    return float(rate[GROUPS.index(16)] / rate[GROUPS.index(8)])


def _nccl(catalog: Catalog) -> Fit:
    return fitted(catalog, grouped(measured())["H100 SXM", "NCCL"])


def _practice(catalog: Catalog, i: Inputs) -> float:
    """GB/s of message over time of NCCL's all-reduce, as fitted to the measured rows."""
    row = Reduce("H100 SXM", "NCCL", i["gpus"], i["bytes"], 1.0)
    return float(i["bytes"] / predicted(catalog, [row], _nccl(catalog))[0] / GIGA)


def _lines(
    catalog: Catalog, engine: str
) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], float]]:
    """Alpha and rate of every all-reduce over 8 H100 with an engine."""
    form = FORMS["datacenter"]
    parts = form.device_parts(catalog, ["h100_sxm"], "")
    network = replace(parts.network, engine=np.array([catalog.names("collective").index(engine)]))
    m = assemble(replace(parts, network=network), form, catalog, textbook(), {Limit.RACK_POWER: NO_LIMIT})
    at = GROUPS.index(8)
    return dict(zip(LINES, m.network.reduce_alpha[0, at], strict=True)), dict(
        zip(LINES, m.network.reduce_rate[0, at], strict=True)
    )


def _sharp(catalog: Catalog) -> float:
    """Percent that adding in the switch gains on long messages, at the rates that both reach."""
    _, rates = _lines(catalog, "in_network")
    return 100.0 * (rates["ring", "bulk"] / rates["in_network", "switch"] - 1.0)


def _scin(catalog: Catalog) -> float:
    """Short all-reduce over 8 launched by the host against adding in the switch."""
    host, switch = _lines(catalog, "host")[0], _lines(catalog, "in_network")[0]
    return min(host.values()) / switch["in_network", "switch"]


def _per_gpu(catalog: Catalog, device: str, group: int, i: Inputs, card: float, users: float | None) -> float:
    """Output tokens/s of a GPU, prefill workers counted, at the largest batch that serves a user at ``users`` tokens/s."""
    rig = catalog.replace("link", "scale_out", "bandwidth", card * GIGA)
    load = ModelLoad(
        i["model"],
        1.0,
        1e9,
        i["weights_bits"],
        8.0,
        i["weights_bits"],
        score_compute_bits=16.0,
        draft_tokens=1.0,
        acceptance=MTP,
    )
    best = 0.0
    for each in (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024):
        plan = RankPlan(group, group, group, float(each * group))
        case = Case(
            "",
            device,
            load.llm,
            "trtllm",
            "",
            load,
            "",
            "agg",
            plan,
            None,
            i["input_tokens"],
            i["output_tokens"],
        )
        served = prepare([case], rig)
        if served.room[0] < each * group:
            break
        at = times(replace(served, shared=np.zeros(1)), soft_rows(rig, [case]))
        tpot = float(at.tpot[0])
        if users and tpot > 1.0 / users:
            continue
        decode = tpot / each
        prefill = float(at.pairs.prompt[0]) / i["output_tokens"]  # as many prompts as GPUs at once
        best = max(best, 1.0 / (decode + prefill))
    return best


def _inputs(i: Inputs) -> Inputs:
    return {"model": "DeepSeek-R1", "weights_bits": 4, "input_tokens": 1024, "output_tokens": 1024, **i}


OURS: Final[Mapping[str, Ours]] = {
    "liminal-sync-dominates": lambda _, i: 100.0 * (s := i["all_reduces_per_token"] * i["sync_us"] * 1e-6) / (s + 0.72e-3 * 4.0 / i["bandwidth_tb_s"]),
    "dsv3-topology-ft2": lambda _, i: _clos(i["endpoints"], i["switch_ports"]).switch_chips(1),
    "dsv3-topology-mpft": lambda _, i: i["endpoints"] / 2048 * _clos(2048, i["switch_ports"]).switch_chips(1),
    "dsv3-cpu-latency-roce-same": lambda c, _: _card(c, 1, "high"),
    "dsv3-cpu-latency-roce-cross": lambda c, _: _card(c, 3, "high"),
    "dsv3-cpu-latency-ib-same": lambda c, _: _card(c, 1, "nominal"),
    "dsv3-cpu-latency-ib-cross": lambda c, _: _card(c, 3, "nominal"),
    "dsv3-cpu-latency-nvlink": lambda c, _: _nvlink(c),
    "dsv3-deepep-dispatch": lambda c, i: c.value("software", "pooled", "link_efficiency") * i["nic_gb_s"],
    "dsv3-deepep-combine": lambda c, i: c.value("software", "pooled", "link_efficiency") * i["nic_gb_s"],
    "inferencex-nvl72-vs-b200-nvl72": lambda c, i: _per_gpu(c, "gb200", i["nvl72"]["ep"], i, i["b200"]["inter_node_gb_s"], i["tokens_per_s_user"]),
    "inferencex-nvl72-vs-b200-b200": lambda c, i: _per_gpu(c, "b200_sxm", i["b200"]["ep"], i, i["b200"]["inter_node_gb_s"], i["tokens_per_s_user"]),
    "inferencex-peak-nvl72": lambda c, i: _per_gpu(c, "gb200", i["ep"], _inputs(i), 50.0, None),
    "inferencex-peak-b200": lambda c, i: _per_gpu(c, "b200_sxm", i["ep"], _inputs(i), 50.0, None),
    "sb-model-parallel-limit": lambda _, i: float(np.floor(i["ffn_hidden"] * i["axes"] / 2550.0)),  # FLOP per byte of v5e in the book
    "sb-allgather-1axis": lambda _, i: 1e6 * _gather(i, "one"),
    "sb-allgather-2axis": lambda _, i: 1e6 * _gather(i, "both"),
    "sb-alltoall-1axis": lambda _, i: 1e6 * _gather(i, "all-to-all"),
    "sb-hop-latency": lambda _, i: topology.shape("ring", i["axis"]).diameter * i["hop_us"],
    "sb-alltoall-ring": lambda _, __: _quarter(),
    "gpu-allgather-65us": lambda _, i: 1e6 * _volume("all_gather", "ring", topology.shape("switch", i["gpus"])) * i["bytes"] / (i["egress_gb_s"] * GIGA),
    "gpu-allgather-1ms": lambda _, i: 1e3 * _volume("all_gather", "ring", topology.shape("switch", i["gpus"])) * i["bytes"] / (i["egress_gb_s"] * GIGA),
    "gpu-nvlink-practice-all-reduce-58mb": _practice,
    "gpu-sharp-theory": lambda _, i: 100.0 * (_volume("all_reduce", "ring", topology.shape("switch", i["gpus"])) / _volume("all_reduce", "in_network", topology.shape("switch", i["gpus"])) - 1.0),
    "gpu-sharp-practice": lambda c, _: _sharp(c),
    "gpu-superpod-switches": lambda _, i: i["nodes"] * i["nvswitch_per_node"] + topology.two_levels(i["gpus"], i["gpus_per_node"], 64).switch_chips(1),
    "gpu-alltoall-2node": _two_nodes,
    "gpu-gb200-egress": lambda c, i: 4.0 * c.value("device", "gb200", "link_bandwidth") / GIGA / i["h100_node_gb_s"],
    "scin-small": lambda c, _: _scin(c),
    "diameter-ft-sf-df-slimfly": lambda _, __: _slim_fly(),
    "diameter-ft-sf-df-dragonfly": lambda _, __: topology.shape("dragonfly", 72).diameter,
    "diameter-ft-sf-df-ft3": lambda _, __: 2.0 * (_clos(2048, 64).diameter - 2.0),  # a level more: its two links up and down again
}  # fmt: skip
"""claim -> ours, in the claim's unit"""


BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "liminal-sync-dominates": (70.0, 100.0),
    "gpu-alltoall-2node": (4.0, 20.0),
    "scin-small": (1.0, 8.7),
}
"""claims that state an interval"""


STATED: Final[Mapping[str, float]] = {"inferencex-nvl72-vs-b200-nvl72": 0.35}
"""distances that the row itself allows"""


SKIPPED: Final[Mapping[str, str]] = {
    "gpu-superpod-ag": "the rates of the other two levels are not given",
    "nvrar": "neither the nodes nor their cards are given",
    "nvrar-e2e": "neither the nodes nor their cards are given",
    "tpuv4-ocs": "optical circuit switches are no topology of ours",
    "slimfly-savings": "Slim Fly is no topology of ours; published counts of the two networks give 39 % fewer switches, not 50",
    "slimfly-cost": "Slim Fly is no topology of ours",
}
"""claims of which nothing can be computed, and why"""


_PROMPTS: Final = (
    "prompts: our share of FP4 peaks comes from FP8 rows of Hopper; decode alone gives 11,400 tokens/s"
)


DIFFERS: Final[Mapping[str, str]] = {"inferencex-peak-nvl72": _PROMPTS, "inferencex-peak-b200": _PROMPTS}
"""claims that ours does not meet, and the term that makes it"""


def network_claims(catalog: Catalog) -> list[PublishedResult]:
    """Every published result about networks of which something can be computed, and ours."""
    out = []
    for row, inputs in rows("results_network.csv"):
        if row["id"] in SKIPPED:
            continue
        ours, stated = float(OURS[row["id"]](catalog, inputs)), row["published_value"]
        kind = kind_of(row)
        ratio = against(ours, stated, BOUNDS.get(row["id"]))
        within = {"identity": 0.02, "constant": 0.2, "range": 0.1}.get(kind, STATED.get(row["id"], 0.25))
        out.append(
            PublishedResult(
                row["id"],
                row["claim"],
                kind,
                stated,
                ours,
                ratio,
                "network",
                DIFFERS.get(row["id"], ""),
                within,
            )
        )
    return out
