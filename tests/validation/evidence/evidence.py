"""What is measured or published elsewhere than in served tokens, beside ours: edge devices, kernels, system claims."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dse.catalog.catalog import Catalog
from tests.validation.evidence.a100_kernels import Kernel, kernel_rows
from tests.validation.evidence.all_reduce import HEADER, Scored, scores, table
from tests.validation.evidence.edge_devices import Edge, edge_rows
from tests.validation.evidence.flash import flash_claims
from tests.validation.evidence.gpu_money_and_energy import PublishedRange, published
from tests.validation.evidence.networks import network_claims
from tests.validation.evidence.pnm_and_stacks import near_claims
from tests.validation.evidence.published_result import PublishedResult
from tests.validation.evidence.systems import system_claims
from tests.validation.evidence.warm_phone import PUBLISHED, Warm, warm_phone


@dataclass(frozen=True)
class Evidence:
    """Rows of every kind."""

    edge: list[Edge]
    kernels: list[Kernel]
    claims: list[PublishedResult]
    memory: list[PublishedResult]
    """about flash, PNM, stacks and networks"""
    reduces: list[Scored]
    """all-reduces measured on GPUs"""
    published: list[PublishedRange]
    """dollars and joules per token and hour"""
    warm: Warm
    """a phone that gets warm"""

    def decode(self) -> list[float]:
        """Predicted over measured decode rates of phones, laptops and edge boards."""
        return [e.ratio for e in self.edge if e.on_edge and e.metric == "decode"]

    def joules(self) -> list[float]:
        """Predicted over measured joules per token."""
        return [e.ratio for e in self.edge if e.metric == "J/token"]

    def tokens_joules(self) -> list[float]:
        """Ours over the published nominal, joules per token of GPUs."""
        return [b.ours / b.nominal for b in self.published if b.unit == "J/token"]

    def reduce_errors(self) -> tuple[list[float], list[float]]:
        """Errors of all-reduces: of every row, and of 8 ranks by a fit to 4."""
        return [float(e) for s in self.reduces for e in s.errors], [
            float(e) for s in self.reduces for e in s.carried
        ]

    def lines(self) -> list[tuple[str, list[str]]]:
        """Title and lines of each kind."""
        return [
            ((f"Phones, laptops, edge boards: decode MAPE {100 * mape(self.decode()):.1f} % of {len(self.decode())} rows; "
             f"joules per token {100 * mape(self.joules()):.1f} % of {len(self.joules())} (factors per stack fitted to these rows)"),
             [f"{e.system:28s} {e.device:26s} {e.llm:13s} {e.precision:16s} measured {e.measured:7.2f}  ours {e.predicted:7.2f} "
              f"{'token/s' if e.metric == 'decode' else 'J/token'}  ratio {e.ratio:.2f}" for e in self.edge]),
            (f"A100 kernels (LLMCompass): MAPE {100 * mape([k.ratio for k in self.kernels]):.1f} % of {len(self.kernels)} rows",
             [f"{k.name:32s} measured {1e6 * k.measured:10.1f} us  ours {1e6 * k.predicted:10.1f} us  ratio {k.ratio:.2f}" for k in self.kernels]),
            (f"Published system results: {sum(c.agrees for c in self.claims)} of {len(self.claims)} within 25 % or on the right side of a bound: {by_kind(self.claims)}",
             [c.line() for c in self.claims]),
            ("All-reduce, measured: a launch and an efficiency fitted to each device and library; errors by size of message",
             [" | ".join(row) for row in (HEADER, *table(self.reduces))]),
            (f"Published results on flash, PNM, 3D stacks and networks: {sum(c.agrees for c in self.memory)} of {len(self.memory)} agree: {by_kind(self.memory)}",
             [c.line() for c in self.memory]),
            ("Published dollars and joules of GPUs (bases as each line says)", [b.line() for b in self.published]),
            ("An iPhone 16 Pro that generates 4,096 tokens twice (arXiv 2603.23640: it loses nearly half of its rate within two iterations, whose length is not given)",
             [(f"burst {self.warm.power:.1f} W, {self.warm.rate:.0f} token/s; the skin's limit holds it from {self.warm.until:.0f} s; rate kept in the mean of the second: {self.warm.kept[-1]:.2f}, at its end: "
               f"{self.warm.at_the_end:.2f}, after five minutes {self.warm.later:.2f}; published {PUBLISHED[1]:.2f} ({PUBLISHED[0]:.1f} to {PUBLISHED[2]:.1f})")]),
        ]  # fmt: skip

    def table(self) -> list[list[str]]:
        """Rows of ``evidence.csv``: the section, what a person reads, and the two numbers where a line sets two side by side."""
        pairs: list[list[tuple[str | float, float]]] = [
            [(e.measured, e.predicted) for e in self.edge],
            [(k.measured, k.predicted) for k in self.kernels],
            [(c.published, c.ours) for c in self.claims],
            [],
            [(c.published, c.ours) for c in self.memory],
            [(b.nominal, b.ours) for b in self.published],
            [(PUBLISHED[1], self.warm.kept[-1])],
        ]
        out = [["section", "line", "published", "ours"]]
        for (title, lines), numbers in zip(self.lines(), pairs, strict=True):
            some = [(p if isinstance(p, str) else f"{p:.6g}", f"{o:.6g}") for p, o in numbers] or [
                ("", "")
            ] * len(lines)
            out += [[title, line, *pair] for line, pair in zip(lines, some, strict=True)]
        return out


def by_kind(claims: list[PublishedResult]) -> str:
    """How many of each kind agree: identities are arithmetic, only ``model`` tests the model."""
    kinds = sorted({c.kind for c in claims})
    return ", ".join(
        f"{k} {sum(c.agrees for c in claims if c.kind == k)} of {sum(c.kind == k for c in claims)}"
        for k in kinds
    )


def mape(found: list[float]) -> float:
    """Mean absolute error of ratios to 1."""
    return float(np.mean(np.abs(np.array(found) - 1.0)))


def evidence(catalog: Catalog) -> Evidence:
    """Evaluate every row."""
    return Evidence(edge_rows(catalog), kernel_rows(catalog), system_claims(catalog),
                     [*flash_claims(catalog), *near_claims(catalog), *network_claims(catalog)], scores(catalog), published(catalog), warm_phone(catalog))  # fmt: skip
