"""Evaluators: the protocol, our first-order model, and one point asked about in full."""
