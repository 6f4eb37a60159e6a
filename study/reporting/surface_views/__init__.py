"""The surface over any two axes: views, tiles, Plotly.

`views`, `tiles`, `places`, `drawing`, `plotly`.
"""
