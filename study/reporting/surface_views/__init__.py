"""The surface: a picture per method, and views over any two axes.

`levels`, `views`, `tiles`, `scale`, `places`, `drawing`, `plotly`.
"""
