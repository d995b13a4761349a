"""From design variables or a device file to what serving needs, once per design."""
