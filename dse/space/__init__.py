"""The question: variables, scenario, targets, limits, objectives, and designs drawn from them."""
