"""Reports of a run: the page and the recommendation. Reads a Run, never Optuna."""
