"""Policy rules for cluster files, on top of Ray's own schema.

Public modules: rules, kuberay_rules, node_types, price_ceiling, this_cluster, findings.
"""
