"""Language models: parameters, KV bytes; traffic: moments of the context."""

from __future__ import annotations

import numpy as np
import pytest

from dse.catalog.catalog import Catalog, load_catalog
from dse.catalog.transformer import transformer
from dse.physics.experts import peak_load
from dse.serving.plan import plan_grid, single_plan
from dse.serving.software import software_of
from dse.serving.step_work import lower_step
from dse.space.scenario import RequestClass, RequestMix
from dse.space.space import Space

NAMES = sorted(load_catalog().llms)
STACK = software_of(load_catalog(), "ideal")


@pytest.mark.parametrize("name", NAMES)
def test_parameters_within_one_percent_and_kv_exact(name: str, catalog: Catalog) -> None:
    entry = catalog.llm(name)
    model = transformer(entry)
    assert model.parameters == pytest.approx(entry.published["params_total"], rel=0.01)
    assert model.kv_bytes_per_token(16) == entry.published["kv_bytes_per_token_16bit"]


@pytest.mark.parametrize(
    ("name", "bits", "flop_per_byte"),
    [
        ("Llama-3.1-70B", 16, 8.0),
        ("Llama-3.1-70B", 8, 16.0),
        ("DeepSeek-V3", 16, 242.0),
        ("DeepSeek-V3", 8, 484.0),
    ],
)
def test_attention_intensity(name: str, bits: float, flop_per_byte: float, catalog: Catalog) -> None:
    """GQA-8: 64 query heads over 8 KV heads; MLA: 2 x 128 x (576 + 512) FLOP over 576 elements."""
    m = transformer(catalog.llm(name))
    assert m.decode_flops(1000) / m.read_bytes(1000, bits) == pytest.approx(flop_per_byte, rel=0.002)


def test_sampled_contexts_have_the_moments_of_the_closed_form() -> None:
    mix = RequestMix((RequestClass("a", 0.5, 1000, 1000), RequestClass("b", 0.5, 8000, 4000)))
    rng = np.random.default_rng(0)
    long = rng.random(400_000) < 0.5 * 4000 / (0.5 * 4000 + 0.5 * 1000)
    draw = rng.random(400_000)
    context = np.where(long, 8000 + 4000 * draw, 1000 + 1000 * draw)
    assert mix.context == pytest.approx(context.mean(), rel=0.005)
    assert mix.deviation == pytest.approx(context.std(), rel=0.005)


def test_uniform_experts_match_the_textbook_expectation(catalog: Catalog) -> None:
    m = transformer(catalog.llm("DeepSeek-V3"))
    _, distinct = peak_load(m.experts, m.experts_per_token, 64, 1, 0.0)
    assert distinct == pytest.approx(256 * (1 - (1 - 8 / 256) ** 64), rel=1e-9)


def test_skewed_routing_reads_fewer_experts_and_loads_one_rank_more(catalog: Catalog) -> None:
    m = transformer(catalog.llm("DeepSeek-V3"))
    assert (
        peak_load(m.experts, m.experts_per_token, 64, 1, 0.8)[1]
        < peak_load(m.experts, m.experts_per_token, 64, 1, 0.0)[1]
    )
    assert (
        peak_load(m.experts, m.experts_per_token, 512, 32, 0.8)[0]
        > peak_load(m.experts, m.experts_per_token, 512, 32, 0.0)[0]
    )


def test_one_rank_sends_nothing(datacenter: Space, catalog: Catalog) -> None:
    scenario = datacenter.scenario
    t = lower_step(
        scenario.workloads[1], single_plan(1, data_parallel=False, batch=8), catalog, scenario, STACK
    ).rows
    assert t.reduces[0] == 0
    assert t.exchanges[0] == 0


def test_resident_weights_over_a_group_add_up_to_the_model(datacenter: Space, catalog: Catalog) -> None:
    scenario = datacenter.scenario
    for load in scenario.workloads:
        model = transformer(catalog.llm(load.llm))
        plans = plan_grid(model)
        t = lower_step(load, plans, catalog, scenario, STACK).rows
        tp = ~plans.data_parallel & (plans.group <= 64)
        whole = t.resident[tp] * plans.group[tp]
        assert np.all(whole >= model.parameters * 0.999)
        assert np.all(whole <= model.parameters * 1.01)
