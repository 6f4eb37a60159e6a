"""The shipped studies: each function that returns a `Space` is a study.

`lab` runs on the embedded models, `published` repeats papers, `small` fits one consumer GPU.
"""
