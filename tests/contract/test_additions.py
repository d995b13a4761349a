"""What a technology or a target added by files alone must do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dse.catalog.catalog import Catalog
from dse.core.axes import PnmSite
from dse.evaluator.first_order import FirstOrderModel
from dse.report.facts import binding
from dse.space.design import sample
from dse.space.limits import Limit
from dse.space.overrides import load_space
from dse.space.reader import read_space

HOME = Path(__file__).resolve().parents[2]


def test_an_engine_in_every_flash_die_is_a_catalogue_file(catalog: Catalog) -> None:
    """Engines count by die, read what the planes give, and their power, area and money are per die."""
    text = (HOME / "search_spaces" / "hbf.toml").read_text()
    text = text.replace(
        'choices = ["none", "flash_base_die"]', 'choices = ["none", "flash_base_die", "flash_die"]'
    )
    text = text.replace('pnm = ["flash_base_die"]', 'pnm = ["flash_base_die", "flash_die"]')
    text = text.replace(
        "flash_base_die = { flash",
        'flash_die = { flash = ["hbf_gen1", "hbf_gen2"] }\nflash_base_die = { flash',
    )
    text = text.replace('low = "1 TFLOP/s"', 'low = "0.1 TFLOP/s"')
    space = read_space(text, "hbf.toml", catalog)
    one = {}
    for name in ("flash_base_die", "flash_die"):
        held = space.fix(pnm=name, pnm_flops="0.1 TFLOP/s", flash="hbf_gen1", flash_stacks=2, flash_height=16)
        model = FirstOrderModel(held, catalog)
        one[name] = model.machine(sample(held, 1, np.random.default_rng(0)))
    base, die = one["flash_base_die"].pnm, one["flash_die"].pnm
    assert die.site[0] == base.site[0] == PnmSite.FLASH
    assert die.flops[0] == pytest.approx(16 * base.flops[0])  # an engine for each of 16 dies
    assert die.bandwidth[0] >= base.bandwidth[0]
    assert die.copies[0] == pytest.approx(4 * base.copies[0])  # sqrt(16) as many shards
    judged = FirstOrderModel(space, catalog).evaluate(sample(space, 300, np.random.default_rng(1)))
    assert np.isfinite(judged.objectives["tpot"]).all()


def test_a_phone_is_never_said_to_be_held_by_its_one_user() -> None:
    """Demand is always filled by one user; of a fleet it binds where the batch is all of it."""
    full: dict[str, np.ndarray] = {Limit.DEMAND: np.ones((1, 1)), Limit.TTFT: np.full((1, 1), 0.95)}
    assert binding(load_space("mobile"), full, 0, 0) == [Limit.TTFT]
    assert binding(load_space("datacenter"), full, 0, 0) == [Limit.DEMAND, Limit.TTFT]
