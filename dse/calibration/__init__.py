"""Measured rows -> cases -> predictions -> fit -> scores: how software stacks are calibrated, and how far to trust them."""
