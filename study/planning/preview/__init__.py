"""What --dry-run prints, with or without data and weights.

`summary`, `offline_estimate` (a plan with stubs), `invalidated`.
"""
