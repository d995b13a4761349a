"""Search with Optuna, the sweep that says how close it came, ablations and what-ifs.

The only room that knows Optuna.
"""
