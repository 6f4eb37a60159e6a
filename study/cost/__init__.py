"""What work costs: FLOP, memory, node type, dollars, budget.

`prices` (the table), `pricer`, `node_choice`, `jobs`, `flops`, `devices`, `memory`, `budget`.
"""
