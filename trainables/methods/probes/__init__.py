"""The numerical solvers behind the linear probe.

`conditional_logit` (full batch), `gradient_descent` (the paper's mini-batches).
"""
