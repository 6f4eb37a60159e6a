"""Forward passes on a frozen model: packed scoring, generation, hidden states.

`scoring` (score_choices), `generation`, `hidden_states`, `tokenization`, `normalization`.
"""
