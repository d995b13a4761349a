"""From the built wheel, in an empty folder: the whole job; its page in a real browser."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

HOME = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; dependencies are those of this environment."""
    place = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(place), str(HOME)],
        check=True,
        capture_output=True,
    )
    venv.create(place / "venv", with_pip=True)
    python = place / "venv" / "bin" / "python"
    wheel = next(place.glob("*.whl"))
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", str(wheel)], check=True, capture_output=True
    )
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / "venv" / "lib" / version / "site-packages"
    (packages / "borrowed.pth").write_text("\n".join(p for p in site.getsitepackages()) + "\n")
    return place / "venv" / "bin" / "dse"


@pytest.fixture(scope="session")
def explored(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The main job with a small budget, in an empty folder outside the checkout."""
    folder = tmp_path_factory.mktemp("empty")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [installed, "explore", "--trials", "300"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "results"


def test_the_wheel_leaves_fronts_pages_and_recommendations(explored: Path) -> None:
    for target in ("datacenter", "mobile"):
        for name in (
            "front.csv",
            "dashboard.html",
            "recommendation.md",
            "recommendation.html",
            "recommendation.json",
            "run.json",
            "space.toml",
        ):
            assert (explored / target / name).stat().st_size > 100, (target, name)


def test_exploring_again_changes_nothing(installed: Path, explored: Path) -> None:
    before = (explored / "mobile" / "front.csv").read_text()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [installed, "explore", "mobile", "--trials", "300"],
        cwd=explored.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (explored / "mobile" / "front.csv").read_text() == before


def test_the_page_asks_no_network(explored: Path) -> None:
    page = (explored / "datacenter" / "dashboard.html").read_text()
    head = page[: page.index("<script>")] + page[page.rindex("<script>") :]
    assert "src=" not in head
    assert "http" not in head.split("/*DATA*/")[0]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium driven by its own driver."""
    chrome, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chrome is None or driver is None:
        if os.environ.get("CI"):
            pytest.fail("chromium and chromedriver must be installed in CI")
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chrome
    for flag in ("--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
                 "--disable-sync", "--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=1280,1000"):  # fmt: skip
        options.add_argument(flag)
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    made.set_page_load_timeout(180)
    yield made
    made.quit()


@pytest.mark.parametrize("target", ["datacenter", "mobile"])
def test_brushing_links_front_table_and_parallel_coordinates(
    target: str, explored: Path, browser: Any
) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get((explored / target / "dashboard.html").as_uri())
    WebDriverWait(browser, 120).until(
        lambda b: b.execute_script("return document.body.dataset.ready") == "yes"
    )
    total = int(browser.execute_script("return document.body.dataset.selected"))
    assert total == browser.execute_script("return document.querySelectorAll('#table tbody tr').length")
    script = """
      const done = arguments[0], g = document.getElementById('par'), v = dims[0].values.slice().sort((a,b)=>a-b);
      Plotly.restyle('par', {'dimensions[0].constraintrange': [[v[0]-1e-6, v[Math.floor(v.length/3)]]]}).then(() => setTimeout(() => done(
        [Number(document.body.dataset.selected), document.querySelectorAll('#table tbody tr').length, document.getElementById('front2').data[0].selectedpoints.length]), 500));
    """
    browser.set_script_timeout(60)
    chosen, table, points = browser.execute_async_script(script)
    assert 0 < chosen < total
    assert chosen == table == points
    errors = [
        e for e in browser.get_log("browser") if e["level"] == "SEVERE" and "favicon" not in e["message"]
    ]
    assert not errors, errors


@pytest.mark.parametrize("target", ["datacenter", "mobile"])
def test_a_box_that_is_dragged_selects_and_stays(target: str, explored: Path, browser: Any) -> None:
    """Dragged with the mouse over half of the front: table and parallel lines follow it, and do not undo it."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get((explored / target / "dashboard.html").as_uri())
    wait = WebDriverWait(browser, 120)
    wait.until(lambda b: b.execute_script("return document.body.dataset.ready") == "yes")
    total = int(browser.execute_script("return document.body.dataset.selected"))
    # the box: from the corner of the front's best values to the median of each objective
    box = browser.execute_script("""
      const g = document.getElementById('front2'); g.scrollIntoView({block:'center'});
      const l = g._fullLayout, mid = v => v.slice().sort((a,b)=>a-b)[Math.floor(v.length/2)];
      const px = (axis, v) => axis.l2p(Math.log10(v)), xs = g.data[0].x, ys = g.data[0].y;
      const at = (x, y) => [l._size.l + px(l.xaxis, x), l._size.t + px(l.yaxis, y)];
      return [at(Math.min(...xs), Math.max(...ys)), at(mid(xs), Math.min(...ys)), g.clientWidth, g.clientHeight];
    """)
    (x0, y0), (x1, y1), width, height = box
    plot = browser.find_element(By.ID, "front2")
    centre = (width / 2, height / 2)
    (
        ActionChains(browser)
        .move_to_element_with_offset(plot, int(x0 - 6 - centre[0]), int(y0 - 6 - centre[1]))
        .click_and_hold()
        .move_by_offset(int(x1 - x0) // 2, int(y1 - y0) // 2)
        .move_by_offset(int(x1 - x0) - int(x1 - x0) // 2 + 8, int(y1 - y0) - int(y1 - y0) // 2 + 12)
        .release()
        .perform()
    )
    wait.until(lambda b: int(b.execute_script("return document.body.dataset.selected")) < total)
    browser.set_script_timeout(60)
    chosen, table, points, lines = browser.execute_async_script("""
      const done = arguments[0]; setTimeout(() => done([Number(document.body.dataset.selected),
        document.querySelectorAll('#table tbody tr').length,
        document.getElementById('front2').data[0].selectedpoints.length,
        Array.from(document.getElementById("par").data[0].line.color).filter(c => c === 1).length]), 2000);
    """)
    assert 0 < chosen < total
    assert (table, points, lines) == (chosen, chosen, chosen)
    labels = browser.execute_script(
        "return document.getElementById('par').data[0].dimensions.map(d => d.label)"
    )
    assert {"flash", "pnm"} <= set(labels) or target == "mobile"
    browser.execute_script("document.getElementById('clear').click()")
    wait.until(lambda b: int(b.execute_script("return document.body.dataset.selected")) == total)
