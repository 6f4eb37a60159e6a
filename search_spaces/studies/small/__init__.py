"""Studies of small real models and questions, for one consumer GPU.

`arc`, `arc_small_models`, `small`, `ssrm_arc`.
"""
