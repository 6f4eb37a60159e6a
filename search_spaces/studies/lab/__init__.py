"""Studies on the embedded lab: no download, no GPU.

`micro`, `ssrm_micro`, `ssrm_rm_micro` (reward models and policies).
"""
