"""The linear probe as a value, and its numerical solvers.

`probe` (scores, file), `conditional_logit` (to convergence), `gradient_descent` (the paper's 100
steps).
"""
