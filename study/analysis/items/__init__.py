"""Results per item: what each arm answers, accuracy by hardness and topic, influential items.

`results`, `accuracy`, `influence`.
"""
