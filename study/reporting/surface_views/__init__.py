"""The surface: a picture per method, views over any two axes, its table as files.

`levels`, `views`, `tiles`, `scale`, `places`, `drawing`, `downloads`.
"""
