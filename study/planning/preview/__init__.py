"""What --dry-run prints, also without data or weights.

`summary`, `offline_estimate`, `invalidated`.
"""
