"""Trends, pooling and multiple testing over points that share items or draws.

`trend`, `crossing`, `pooling`, `pooled_sgr`, `multiplicity`.
"""
