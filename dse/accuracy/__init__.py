"""Accuracy: measured rows, their prediction, calibration of software stacks, and scores."""
