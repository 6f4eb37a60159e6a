"""The numerical solvers behind the linear probe.

`conditional_logit` (to convergence), `gradient_descent` (the paper's 100 steps).
"""
