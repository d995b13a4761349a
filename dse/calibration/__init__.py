"""Measured rows -> cases -> predictions -> fit -> scores.

How software stacks are calibrated, and how far to trust them.
"""
