"""What every method shares: its interface, answering, chain of thought, choice orders.

`interface` (Setting, Example, Fitted), `answering`, `chain_of_thought`, `choice_orders`,
`consensus`.
"""
