"""Policy rules for a cluster file, on top of Ray's own schema.

`rules` (ray up), `kuberay_rules`, `node_types`, `price_ceiling`, `this_cluster`, `findings`.
"""
