"""Studies of small real models and questions, for one consumer GPU.

`arc`, `small`, `ssrm_arc`.
"""
