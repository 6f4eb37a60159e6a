"""Tasks of questions with a right answer.

`arc`, `arc_annotations`, `gsm8k`, `jsonl`, `micro`, `mmlu`, `science`, `strategyqa`.
"""
