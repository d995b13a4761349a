"""A search, its front and a plot: ``python results/front.py`` writes front.svg beside it."""

from pathlib import Path

import dse

space = dse.load_space("mobile").fix(pnm="none")
run = dse.search(space, trials=500, seed=1)
label = {name: f"{name} [{unit}]" for name, unit in run.front.attrs["units"].items()}
x, y, colour = label["tpot"], label["bom"], label["energy_per_token"]
axes = run.front.rename(columns=label).plot.scatter(x, y, c=colour, colormap="viridis", title=space.title)
axes.figure.savefig(Path(__file__).with_name("front.svg"), bbox_inches="tight")
print(run.front[["tpot", "energy_per_token", "bom", "dram", "flash"]].head())
