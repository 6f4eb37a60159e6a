"""Tasks of questions with a right answer.

`arc`, `arc_annotations`, `gsm8k`, `micro`, `mmlu`, `own`, `science`, `strategyqa`.
"""
