"""Model-based hardness (MDL): its values and their files.

`mdl`, `values`, `files`.
"""
