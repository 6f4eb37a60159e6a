"""Studies on the embedded lab: no download, no GPU.

`micro`, `ssrm_micro`.
"""
