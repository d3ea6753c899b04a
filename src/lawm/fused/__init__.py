"""Kernels and hand-chained loops over time: the same mathematics with far fewer operators."""
