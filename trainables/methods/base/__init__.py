"""Shared by all methods: their interface, answering, chain of thought, choice orders.

`interface` (CellContext, Example, FittedMethod), `answering`, `chain_of_thought`, `choice_orders`,
`shown_examples`.
"""
