"""Items to text and back: prompt formats, answer extraction, numeric equality.

`formats`, `answers`, `numbers`.
"""
