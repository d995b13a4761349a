"""Dollars and joules per token and per hour as others published them, beside ours.

Energies are of the accelerator alone where its own meter was read, of the whole node where the source
assumes its power. Money is compared on one basis: cost of ownership with devices at their list price, or
rent by the hour at the source's own rate. What providers charge for tokens holds their margin: a spread to lie in
or below, on another basis, which each such line says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from dse.api import evaluate
from dse.catalog.catalog import Catalog
from dse.core.money import Basis, Comparison, Money
from dse.evaluator.explain import Evaluation
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.site import at_price, price_of
from dse.hardware.machine import CarbonLine
from dse.space.limits import Limit
from dse.space.reader import read_space, space_text
from dse.space.space import Space

HOUR: Final = 3600.0  # s


YEAR: Final = 2025.0
"""of the figures below"""


OUTSIDE: Final = (
    "host",
    "switches",
    "cables and optics",
    "far memory",
    "fans",
    "facility (PUE)",
    "voltage conversion",
)
"""parts of a token's energy that an accelerator's own meter does not see"""


@dataclass(frozen=True)
class PublishedRange:
    """A published figure with its range, and ours."""

    what: str
    source: str
    unit: str
    low: float
    nominal: float
    high: float
    ours: float

    @property
    def error(self) -> float:
        """Ours over the nominal, less 1."""
        return self.ours / self.nominal - 1.0

    @property
    def inside(self) -> bool:
        """Whether ours lies in the published range."""
        return self.low <= self.ours <= self.high

    def line(self) -> str:
        """As a person reads it."""
        where = "inside" if self.inside else "outside"
        return (f"{self.what:76s} published {self.nominal:8.4g} ({self.low:.4g} to {self.high:.4g}) {self.unit:9s} ours {self.ours:8.4g}  "
                f"{100 * self.error:+5.0f} %  {where}  [{self.source}]")  # fmt: skip


def _space(catalog: Catalog, utilisation: float, year: float = YEAR) -> Space:
    """The datacenter's accounting in a year, without its limit on the first token: no source states one."""
    space = read_space(*space_text("datacenter"), catalog)
    numbers = {**space.scenario.numbers, "year": year, "utilisation": utilisation}
    limits = {k: v for k, v in space.thresholds.items() if k != Limit.TTFT}
    return replace(space, scenario=replace(space.scenario, numbers=numbers), thresholds=limits)


# what, device, model, batch, tensor parallel, input, output, bits, whole node, low, nominal, high, source
JOULES: Final = (
    ("H100, Llama-3.1-8B, batch 64", "h100_sxm", "Llama-3.1-8B", 64, 1, 500, 500, 16, False, 0.12, 0.12, 0.20,
     "ml.energy: vLLM, GPU only; lengths not given, 500 / 500 taken"),
    ("H100, dense 7B class, batch 128", "h100_sxm", "Mistral-7B-v0.1", 128, 1, 500, 500, 16, False, 0.03, 0.036, 0.045,
     "api.serialalice.pt: about 10 uWh, GPU only; lengths not given, 500 / 500 taken"),
    ("H200, Mixtral-8x7B, batch 128", "h200_sxm", "Mixtral-8x7B", 128, 1, 500, 500, 16, False, 0.118, 0.131, 0.144,
     "api.serialalice.pt: 36.4 uWh, GPU only; lengths not given, 500 / 500 taken"),
    ("4 H100 PCIe, Llama-70B, 2,035 / 300, batch 8, node", "h100_pcie", "Llama-3.1-70B", 8, 4, 2035, 300, 16, True, 4.7, 6.6, 9.4,
     "clune.org: throughput measured, power of the node assumed 1.5 to 3 kW; nominal their geometric mean"),
    ("4 H100 PCIe, Llama-70B, 16k, batch 8, node, decode alone", "h100_pcie", "Llama-3.1-70B", 8, 4, 16384, 0, 16, True, 9.6, 13.6, 19.2,
     "clune.org: as above; output length not given"),
    ("4 H100 PCIe, Llama-70B, 16k, batch 1, node, decode alone", "h100_pcie", "Llama-3.1-70B", 1, 4, 16384, 0, 16, True, 36.0, 51.0, 72.0,
     "clune.org: as above; output length not given"),
)  # fmt: skip


def energies(catalog: Catalog) -> list[PublishedRange]:
    """Joules per output token of GPUs, prompts included where outputs are known, while they work."""
    space = _space(catalog, 1.0)
    out = []
    for what, device, llm, batch, tensor, inputs, outputs, bits, node, low, nominal, high, source in JOULES:
        e = _served(space, catalog, device, llm, batch, tensor, inputs, outputs, bits)
        ours = sum(v for n, v in e.energies.items() if (node and n != "facility (PUE)") or n not in OUTSIDE)
        out.append(PublishedRange(what, source, "J/token", low, nominal, high, ours))
    return out


def _served(space: Space, catalog: Catalog, device: str, llm: str, batch: int, tensor: int, inputs: float,
            outputs: float, bits: float, attention: str = "tp") -> Evaluation:  # fmt: skip
    return evaluate(
        space, device=device, llm=llm, batch=batch, tensor_parallel=tensor, attention=attention, catalog=catalog,
        context=None if outputs else inputs, input_tokens=inputs if outputs else None, output_tokens=outputs or None,
        weight_bits=bits, kv_bits=bits, compute_bits=bits,
    )  # fmt: skip


# device, low of hyperscalers, nominal of hyperscalers, high of neoclouds: USD per GPU and hour
HOURS: Final = (("h100_sxm", 1.17, 1.3, 1.94), ("h200_sxm", 1.27, 1.41, 2.0), ("b200_sxm", 1.76, 1.95, 2.69), ("b300_sxm", 2.11, 2.34, 3.23),
                ("mi300x", 1.01, 1.12, 1.61), ("mi325x", 1.15, 1.28, 1.83), ("mi355x", 1.33, 1.48, 2.19))  # fmt: skip


AVAILABLE: Final = "InferenceX, hyperscaler low to neocloud high"


def hour(catalog: Catalog, device: str, space: Space) -> Money:
    """Cost of owning a device for an hour, bought at its list price, at its provisioned power all the time."""
    model = FirstOrderModel(space, catalog)
    m = at_price(model.devices([device]), price_of(model, device), catalog, space.scenario)
    burnt = float(m.ownership.provisioned_power[0]) * space.scenario.pue * space.scenario.electricity_price
    return Money(
        (float(m.ownership.capital_rate[0]) + burnt) * HOUR, Basis.OWNED, f"{device}, an hour of ours"
    )


def hours(catalog: Catalog) -> list[PublishedRange]:
    """Hours of GPUs, owned."""
    space = _space(catalog, 1.0)
    out = []
    for device, low, nominal, high in HOURS:
        ours = hour(catalog, device, space)
        Comparison(ours, Money(nominal, Basis.OWNED, f"{device}, an hour as published"))
        price = catalog.value("device", device, "market_price")
        out.append(
            PublishedRange(
                f"{device}: an hour, at its list price of {price:,.0f} USD",
                AVAILABLE,
                "USD/h",
                low,
                nominal,
                high,
                ours.amount,
            )
        )
    return out


RENT: Final = 2.0
"""USD an hour, of the sources below"""


SERVED: Final = (
    ("H800, DeepSeek-V3 as in production, rented at 2 USD/h", "h800", "DeepSeek-V3", 4096, 32, 3619, 1000, 0.31, 0.518, 0.518,
     "DeepSeek: 87,072 USD a day over 168e9 output tokens; low: without the nodes of prompts"),
    ("H100-class, DeepSeek-V3, 2,000 in, decode alone, rented at 2 USD/h", "h200_sxm", "DeepSeek-V3", 8192, 32, 2000, 1000, 0.18, 0.2, 0.22,
     "SGLang on 96 H100: 22,300 tokens/s a node; here 32 H200, whose memory holds it"),
    ("H100, Llama-3.1-70B, batch 128, 1k / 1k, owned", "h100_sxm", "Llama-3.1-70B", 128, 4, 1024, 1024, 0.32, 0.53, 0.88,
     "what providers charge for output tokens, mid-2026: holds a margin, 3.3-class API prices"),
    ("H100, Llama-3.1-8B, batch 128, 1k / 1k, owned", "h100_sxm", "Llama-3.1-8B", 128, 1, 1024, 1024, 0.03, 0.055, 0.10,
     "what providers charge for output tokens, mid-2026: holds a margin"),
)  # fmt: skip


def tokens(catalog: Catalog) -> list[PublishedRange]:
    """Cost of a million output tokens on H100-class devices: rented as the sources rent, or owned at list price at 60 % of the time."""
    out = []
    for what, device, llm, batch, tensor, inputs, outputs, low, nominal, high, source in SERVED:
        rented = "rented" in what
        space = _space(catalog, 1.0 if rented else 0.6)
        e = _served(space, catalog, device, llm, batch, tensor, inputs, outputs, 8, "dp" if rented else "tp")
        price = Money(RENT, Basis.RENTED, "an hour") if rented else hour(catalog, device, space)
        share = (
            e.decode_time / e.tpot if "alone" in what or not rented else 1.0
        )  # API prices ask for the prompt apart
        if "alone" in what or not rented:
            seconds = e.figures["packages"].value / e.throughput / space.scenario.utilisation * share
        else:  # prompts may run on packages of their own, which are rented too
            seconds = e.site["packages"].value / e.site["output tokens/s, all demand at once"].value
        out.append(
            PublishedRange(what, source, "USD/Mtok", low, nominal, high, seconds * price.amount / HOUR * 1e6)
        )
    return out


# device, year, low, nominal, high: USD
MATERIALS: Final = (("h100_sxm", 2024, 2500, 3320, 4500), ("h200_sxm", 2026, 4250, 4250, 4800), ("b200_sxm", 2025, 5700, 6400, 7300),
                    ("mi300x", 2024, 4500, 5300, 6000), ("mi355x", 2026, 7000, 8000, 8870))  # fmt: skip


def materials(catalog: Catalog) -> list[PublishedRange]:
    """Bills of materials of packages, at the memory prices of their year."""
    out = []
    for device, year, low, nominal, high in MATERIALS:
        m = FirstOrderModel(_space(catalog, 1.0, year), catalog).devices([device])
        ours = Money(float(m.ownership.bill_of_materials[0]), Basis.MATERIALS, f"{device}, ours")
        Comparison(ours, Money(nominal, Basis.MATERIALS, f"{device}, as published"))
        out.append(
            PublishedRange(
                f"{device}: bill of materials in {year}",
                "analysts' models (siliconanalysts.com, Raymond James)",
                "USD",
                low,
                nominal,
                high,
                ours.amount,
            )
        )
    return out


# what, device, parts, low, nominal, high: kgCO2e
EMBODIED: Final = (
    ("an eighth of an HGX H100 board", "h100_sxm", ("compute dies", "memory", "packaging", "links and switches"), 131, 164, 200, "NVIDIA PCF, 1,312 kg"),
    ("an eighth of an HGX B200 board", "b200_sxm", ("compute dies", "memory", "packaging", "links and switches"), 228, 284, 341, "NVIDIA PCF, 2,274 kg"),
    ("an A100 SXM 40 GB", "a100_sxm_40g", ("compute dies", "memory", "packaging"), 100, 128, 181, "Falk et al., arXiv 2509.00093"),
    ("memory of an eighth of an HGX H100 board", "h100_sxm", ("memory",), 55, 68, 82, "NVIDIA PCF, 546 kg"),
)  # fmt: skip


def embodied(catalog: Catalog) -> list[PublishedRange]:
    """Embodied carbon of boards, cradle to gate."""
    model = FirstOrderModel(_space(catalog, 1.0), catalog)
    return [
        PublishedRange(
            f"embodied carbon of {what}",
            source,
            "kgCO2e",
            low,
            nominal,
            high,
            sum(float(model.devices([d]).lines.carbon[CarbonLine(p)][0]) for p in parts),
        )
        for what, d, parts, low, nominal, high, source in EMBODIED
    ]


def published(catalog: Catalog) -> list[PublishedRange]:
    """All of it."""
    return [*energies(catalog), *hours(catalog), *tokens(catalog), *materials(catalog), *embodied(catalog)]
