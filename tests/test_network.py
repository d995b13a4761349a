"""Topologies against graphs, collectives against textbook forms, failures by hand."""

from __future__ import annotations

from itertools import combinations
from math import ceil, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import maximum_flow, shortest_path

from dse.catalog.catalog import Catalog
from dse.core.axes import GROUPS, LINES
from dse.hardware.collective_tables import NEVER, catalogue_tables
from dse.physics import collective, reliability, topology
from dse.physics.network_shape import NetworkShape


def cost(kind: str, algorithm: str, shape: NetworkShape) -> collective.Cost:
    """Cost of a collective that the network runs."""
    found = collective.cost(kind, algorithm, shape)
    assert found is not None
    return found


NAMES = ("full", "ring", "torus2d", "torus3d", "hyperx", "dragonfly", "switch", "clos", "tree")


EVERY = [(name, n) for name in NAMES for n in range(2, 513) if topology.admits(name, n)]


def grid_links(sizes: tuple[int, ...], *, meshed: bool) -> np.ndarray:
    """Links of a product of rings, or of full connections: nodes numbered along the grid."""
    grid = np.arange(int(np.prod(sizes))).reshape(sizes)
    found = []
    for axis, s in enumerate(sizes):
        lines = np.moveaxis(grid, axis, -1).reshape(-1, s)
        steps = range(1, s) if meshed else [1]
        for k in steps:
            ends = np.stack([lines[:, : s - k].ravel(), lines[:, k:].ravel()], axis=1)
            found.append(ends)
        if not meshed and s > 2:
            found.append(np.stack([lines[:, -1], lines[:, 0]], axis=1))
    return np.concatenate(found)


def dragonfly_links(a: int, groups: int) -> tuple[np.ndarray, int]:
    """Full groups of a; each pair of groups has a // (groups - 1) trunks, a package at most one."""
    local = [(g * a + i, g * a + j) for g in range(groups) for i, j in combinations(range(a), 2)]
    between, used, trunks = a // (groups - 1), [0] * groups, []
    for g, h in combinations(range(groups), 2):
        for _ in range(between):
            trunks.append((g * a + used[g], h * a + used[h]))
            used[g], used[h] = used[g] + 1, used[h] + 1
    assert max(used) <= a
    return np.array(local + trunks), len(trunks)


def graph(name: str, n: int) -> tuple[csr_array, int, np.ndarray]:
    """Adjacency with link counts, packages first; how many switch chips; which nodes are packages."""
    chips = 0
    if name in {"switch", "clos", "tree"}:
        shape = topology.shape(name, n)
        if name == "switch":
            links, weights, chips = [(i, n) for i in range(n)], [1.0] * n, 1
        else:
            leaf = shape.levels[0].size
            leaves = n // leaf
            up = leaf if name == "clos" else max(leaf / topology.TAPER, 1.0)
            spines = max(int(up), 1)
            links = [(i, n + i // leaf) for i in range(n)]
            links += [(n + b, n + leaves + s) for b in range(leaves) for s in range(spines)]
            weights, chips = [1.0] * n + [up / spines] * (leaves * spines), leaves + spines
        ends = np.array(links)
    elif name == "dragonfly":
        a, groups = topology.sides(name, n)
        ends, trunks = dragonfly_links(a, groups)
        wide = topology.shape(name, n).ports - (a - 1)
        weights = [1.0] * (len(ends) - trunks) + [float(wide)] * trunks
    else:
        ends = grid_links(topology.sides(name, n), meshed=name in {"full", "hyperx"})
        weights = [1.0] * len(ends)
    size = n + chips
    half = coo_array((weights, (ends[:, 0], ends[:, 1])), shape=(size, size))
    return csr_array(half + half.T), chips, np.arange(n)


@pytest.mark.parametrize("name", NAMES)
def test_hops_diameter_and_links_equal_the_graph_at_every_size(name: str) -> None:
    """Average hops, diameter and links of every size to 512 that a topology admits."""
    sizes = [n for which, n in EVERY if which == name]
    assert len(sizes) > 60
    for n in sizes:
        links, _, packages = graph(name, n)
        some = packages[:4] if name == "full" else packages  # all of a full network's packages are alike
        distance = shortest_path(links, unweighted=True, indices=some)[:, packages]
        shape = topology.shape(name, n)
        assert shape.diameter == distance.max(), n
        assert shape.mean_hops == pytest.approx(distance.sum() / (len(some) * (n - 1))), n
        assert shape.links == pytest.approx(links.sum() / 2), n
        degree = links.sum(axis=1)[:n].max()
        assert shape.ports == pytest.approx(degree), n


def cut(links: csr_array, side: np.ndarray, n: int) -> float:
    """Links between two sides of the packages, switches placed on the side that cuts fewer."""
    chips = links.shape[0] - n
    inside = links[:n, :n]
    direct = float(side @ (inside @ (1.0 - side)))
    if not chips:
        return direct
    scale = 1000  # maximum_flow takes whole capacities
    source, sink = links.shape[0], links.shape[0] + 1
    whole = coo_array(links * scale)
    packages = np.arange(n)
    ends = np.where(side > 0, source, sink)
    rows = np.concatenate([whole.row, ends, packages])
    cols = np.concatenate([whole.col, packages, ends])
    held = np.full(2 * n, 10**7)
    flow = csr_array(
        (np.concatenate([whole.data, held]).astype(np.int32), (rows, cols)), shape=(links.shape[0] + 2,) * 2
    )
    return float(maximum_flow(flow, source, sink).flow_value) / scale


def halves(name: str, n: int) -> list[np.ndarray]:
    """Natural cuts: the first half of the packages along each dimension of the network."""
    sizes = topology.sides(name, n) if name in topology.SIDES else (n,)
    if name == "dragonfly":
        sizes = sizes[::-1]  # groups are the outer index
    grid = np.arange(n).reshape(sizes)
    out = [(np.arange(n) < n // 2).astype(float)]
    for axis, s in enumerate(sizes):
        if s % 2 == 0:
            first = np.zeros(n)
            first[np.take(grid, range(s // 2), axis=axis).ravel()] = 1.0
            out.append(first)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_bisection_is_attained_at_every_size(name: str) -> None:
    """A balanced cut of the graph has as many links as the closed form says, and no natural one has fewer."""
    for n in [n for which, n in EVERY if which == name]:
        links, _, _ = graph(name, n)
        found = min(cut(links, side, n) for side in halves(name, n))
        assert topology.shape(name, n).bisection == pytest.approx(found, rel=2e-3), n


@pytest.mark.parametrize("name", NAMES)
def test_no_balanced_cut_is_smaller(name: str) -> None:
    """Small sizes: every balanced cut of the graph, one by one."""
    for n in [n for which, n in EVERY if which == name and n <= 12]:
        links, chips, _ = graph(name, n)
        if chips and n > 8:
            continue
        smallest = np.inf
        for half in combinations(range(1, n), n // 2):
            side = np.zeros(n)
            side[list(half)] = 1.0
            smallest = min(smallest, cut(links, side, n))
        assert topology.shape(name, n).bisection == pytest.approx(smallest, rel=2e-3), n


@pytest.mark.parametrize("name", ["full", "ring", "torus2d", "torus3d", "hyperx", "dragonfly"])
def test_congestion_proves_the_bisection(name: str) -> None:
    """n^2 / 4 pairs cross a balanced cut; no link carries more of all pairs than the busiest: a bound from below.

    Routes: dimension by dimension, rings the shorter way and both ways where they tie; local-global-local.
    """
    for n in [n for which, n in EVERY if which == name]:
        sizes, shape = topology.sides(name, n), topology.shape(name, n)
        if name == "dragonfly":
            a, groups = sizes
            between = a // (groups - 1)
            trunk = shape.ports - (a - 1)
            busiest = max(a * a / between / trunk, 1.0 + 2.0 * a / between)
        elif name in {"full", "hyperx"}:
            busiest = max(n / s for s in sizes)
        else:
            # pairs of a ring of s: each of its links carries (s^2 - odd) / 8 of them; n / s rings share n^2 / s^2 x pairs
            busiest = max((n / s) * ((s * s - s % 2) / 8.0 if s > 2 else 1.0) for s in sizes)
        below = (n // 2) * ((n + 1) // 2) / busiest
        odd = (
            name == "dragonfly" and busiest > a * a / between / trunk
        )  # its narrow groups are not the busiest
        assert shape.bisection >= below * (1 - 1e-9), n
        if not odd:
            assert shape.bisection == pytest.approx(below), n


@pytest.mark.parametrize(
    ("name", "n", "links"), [("ring", 8, 2), ("torus2d", 64, 16), ("torus3d", 64, 32), ("torus2d", 256, 32), ("ring", 72, 2)]
)  # fmt: skip
def test_bisection_equals_published_counts(name: str, n: int, links: int) -> None:
    """Of the technology rows: rings, TPU cubes and pods."""
    assert topology.shape(name, n).bisection == links


def test_known_mean_hops() -> None:
    """TPU v4 cube 3.048, 8 x 8 torus 4.063, ring of 8 2.286, of 72 18.254, radix-64 fat tree 2.97 switches."""
    got = [topology.shape(*s).mean_hops for s in (("torus3d", 64), ("torus2d", 64), ("ring", 8), ("ring", 72))]  # fmt: skip
    assert got == pytest.approx([3.048, 4.063, 2.286, 18.254], abs=0.001)
    assert topology.shape("clos", 2048, 2048, 64).mean_switches == pytest.approx(2.97, abs=0.001)


def test_two_levels_equal_the_graph() -> None:
    """Boxes of a switch each, and a card of every package on one switch or a Clos."""
    for n, box, ports in ((64, 8, 64), (128, 8, 64), (256, 4, 64), (512, 8, 64), (512, 64, 64), (32, 1, 64)):
        shape = topology.two_levels(n, box, ports)
        cards = topology.shape("switch" if n <= ports else "clos", n, n, ports)
        pairs = [(i, n + i // box) for i in range(n)] if box > 1 else []
        at = n + n // box
        if n <= ports:
            pairs += [(i, at) for i in range(n)]
            size = at + 1
        else:
            leaf = cards.levels[0].size
            leaves = n // leaf
            pairs += [(i, at + i // leaf) for i in range(n)] + [
                (at + b, at + leaves + s) for b in range(leaves) for s in range(leaf)
            ]
            size = at + leaves + leaf
        ends = np.array(pairs)
        half = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(size, size))
        d = shortest_path(csr_array(half), directed=False, unweighted=True, indices=np.arange(n))[:, :n]
        assert (shape.diameter, shape.mean_hops) == pytest.approx((d.max(), d.sum() / (n * (n - 1))))
        assert shape.bisection == n / 2


def test_a_group_never_has_more_than_its_domain() -> None:
    """Links, all-to-all rate and the spread of a group inside a domain stay within the whole's."""
    for name in NAMES:
        for n in (g for g in GROUPS if g > 1 and topology.admits(name, g)):
            for g in (g for g in GROUPS if 1 < g <= n):
                group, whole = topology.shape(name, n, g), topology.shape(name, n)
                assert group.ports == whole.ports
                assert sum(level.links for level in group.levels if level.kind != "switch") <= 1.0 + 1e-9
                assert group.all_to_all <= 1.0
                assert group.diameter <= max(whole.diameter, g - 1)


@pytest.mark.parametrize("n", [2, 3, 4, 8, 16, 48, 64])
def test_collectives_over_a_switch_equal_the_textbook(n: int) -> None:
    """Thakur et al. 2005: steps and bytes of each algorithm, per byte of the vector."""
    shape = topology.shape("switch", n)
    share, rounds = (n - 1) / n, ceil(log2(n))
    forms = {
        ("all_reduce", "ring"): (2 * (n - 1), 2 * share),
        ("all_reduce", "recursive_doubling"): (rounds, rounds),
        ("all_reduce", "one_shot"): (1, n - 1),
        ("all_reduce", "tree"): (2 * rounds, 2),
        ("all_reduce", "two_shot"): (2, 2 * share),
        ("all_reduce", "in_network"): (1, 1),
        ("all_gather", "ring"): (n - 1, share),
        ("all_gather", "one_shot"): (1, share),
        ("all_gather", "in_network"): (1, share),
        ("reduce_scatter", "ring"): (n - 1, share),
        ("broadcast", "tree"): (rounds, 1),
        ("broadcast", "ring"): (2 * (n - 1), 2 * share),
        ("broadcast", "in_network"): (1, 1),
    }
    if n == 2**rounds:
        forms["all_gather", "recursive_doubling"] = (rounds, share)
    for (kind, algorithm), (steps, volume) in forms.items():
        found = cost(kind, algorithm, shape)
        assert (found.steps, found.volume) == pytest.approx((steps, volume)), (kind, algorithm)
        assert (found.hops, found.switches) == (2 * steps, steps)  # up to the switch and down


@pytest.mark.parametrize("n", [4, 8, 16, 64, 512])
def test_collectives_on_rings_and_meshes_equal_the_textbook(n: int) -> None:
    """A ring's recursive doubling reaches 1, 2, 4, ... and crowds its links; a mesh sends to all at once."""
    ring, full = topology.shape("ring", n), topology.shape("full", n)
    doubling = cost("all_reduce", "recursive_doubling", ring)
    assert (doubling.steps, doubling.hops) == (log2(n), n - 1)
    assert doubling.volume == pytest.approx(2.0 * (n - 1))  # 2^k pairs share a link of L / 2
    one = cost("all_reduce", "one_shot", full)
    assert (one.steps, one.hops, one.volume) == (1, 1, n - 1)
    assert cost("all_reduce", "ring", ring).volume == pytest.approx(2 * (n - 1) / n)
    tree = cost("all_reduce", "tree", ring)
    assert tree.steps == n  # n / 2 links to the root and back
    # a ring's all-to-all of a vector takes a quarter of its all-gather (jax-ml/scaling-book, sharding)
    gather = (n - 1) / n
    spread = collective.all_to_all(ring).volume * (n - 1) / n / n
    assert spread / gather == pytest.approx(0.25 * n / (n - 1))


def test_torus_rounds_go_dimension_by_dimension() -> None:
    """An 8 x 8 torus: 2 (7 + 7) steps instead of 126, the same bytes over all four links."""
    found = cost("all_reduce", "ring", topology.shape("torus2d", 64))
    assert (found.steps, found.hops) == (28, 28)
    assert found.volume == pytest.approx(2 * 63 / 64)


def test_hierarchical_over_leaves() -> None:
    """512 packages in leaves of 32: scatter in a leaf, one shot over 16 leaves on a 32nd, gather: by hand."""
    found = cost("all_reduce", "hierarchical", topology.shape("clos", 512))
    assert (found.steps, found.hops, found.switches) == (3, 2 + 4 + 2, 1 + 3 + 1)
    assert found.volume == pytest.approx(2 * 31 / 32 + 15 / 32)
    tapered = cost("all_reduce", "hierarchical", topology.shape("tree", 512))
    assert tapered.volume == pytest.approx(2 * 31 / 32 + 15 / 32 * topology.TAPER)


@settings(max_examples=200, deadline=None)
@given(where=st.sampled_from(EVERY), pick=st.randoms(use_true_random=False))
def test_one_rank_is_free_and_no_collective_beats_its_bytes(where: tuple[str, int], pick: object) -> None:
    """Every rank sends at least 2 (g - 1) / g of an all-reduce, unless switches add: then the entry says so."""
    name, n = where
    g = n
    if n in GROUPS:
        g = pick.choice([g for g in GROUPS if g <= n])  # type: ignore[attr-defined]
    shape = topology.shape(name, n, g)
    for kind, algorithms in collective.COLLECTIVES.items():
        for algorithm in algorithms:
            found = collective.cost(kind, algorithm, shape)
            if found is None:
                continue
            if g == 1:
                assert found == collective.Cost()
                continue
            assert found.steps >= 1
            assert found.hops >= found.steps
            if algorithm != "in_network":
                assert found.volume >= collective.bound(kind, g) * (1 - 1e-9), (name, n, g, kind, algorithm)
    assert collective.all_to_all(shape).volume >= (1.0 if g > 1 else 0.0)


def test_tables_never_beat_the_bytes_but_where_the_entry_reduces(catalog: Catalog) -> None:
    """The tables of the search: lines that only engines with ``reduces_in_network`` run are exempt, no other."""
    t = catalogue_tables(catalog)
    exempt = {
        line
        for name in catalog.names("collective")
        if catalog.value("collective", name, "reduces_in_network", 0.0) > 0
        for line in catalog.entry("collective", name).attributes["algorithms"].split()
    } - {
        line
        for name in catalog.names("collective")
        if not catalog.value("collective", name, "reduces_in_network", 0.0)
        for line in catalog.entry("collective", name).attributes["algorithms"].split()
    }
    assert exempt == {"in_network"}
    for a, (algorithm, _) in enumerate(LINES):
        if algorithm in exempt:
            continue
        for j, n in enumerate(GROUPS):
            for k, g in enumerate(GROUPS):
                if 1 < g <= n:
                    volume = t.reduce[:, j, k, a, 3][t.able[:, j, k, a]]
                    assert (volume >= 2.0 * (g - 1) / g * (1 - 1e-9)).all(), (algorithm, n, g)
    assert not t.reduce[:, :, 0].any()


def test_every_group_has_an_all_reduce(catalog: Catalog) -> None:
    """A ring runs on everything, inside a domain and across."""
    t = catalogue_tables(catalog)
    assert t.able[:, :, 1:, 0].all()
    assert NEVER > 1


def test_wider_groups_cost_more_time_and_cards_beyond_the_domain(catalog: Catalog) -> None:
    """An all-reduce over two domains takes at least that over one, and a step of the cards."""
    t = catalogue_tables(catalog)
    assert (t.cross[:, :, :, :, 0] > 0).any()
    for j in range(len(GROUPS)):
        assert not t.cross[:, j, : j + 1].any()
        assert (t.beyond[j, j + 1 :] > 0).all()
        assert (np.diff(t.beyond[j]) >= 0).all()


def test_switch_chips_by_hand() -> None:
    """72-port chips: 8 packages take 9 planes a chip, 64 one; a Clos of 512 has 16 leaves and 8 spines a plane."""
    assert topology.shape("switch", 8).switch_chips(18) == 2
    assert topology.shape("switch", 64).switch_chips(18) == 18  # NVL72: 18 chips of 72 ports
    clos = topology.shape("clos", 512)
    assert clos.switch_chips(1) == 16 + 8
    assert topology.shape("tree", 512).switch_chips(1) == 16 + 2
    assert topology.shape("clos", 2048, 2048, 64).switch_chips(1) == 96  # FT2 of arXiv 2505.09343


def test_unserved_time_by_poisson() -> None:
    """Mean 0.5 broken: P(N > 0) = 0.393, P(N > 3) = 0.00175, P(N > 4) = 0.00017."""
    tails = reliability.unserved(np.array([0.5, 0.0]))
    assert tails[0, [0, 3, 4]] == pytest.approx([0.3935, 0.00175, 0.00017], rel=0.02)
    assert not tails[1].any()
    assert (np.diff(reliability.unserved(np.linspace(0.0, 5.0, 50)), axis=1) <= 0).all()
    assert (np.diff(reliability.unserved(np.linspace(0.0, 5.0, 50)), axis=0) >= 0).all()
