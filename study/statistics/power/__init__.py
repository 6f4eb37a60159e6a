"""Power analysis: what a design can resolve, before it runs.

`power`, `variances`, `logit_model`.
"""
