"""Base models: which one a name means, loading and quantizing it, its chat template.

`source` (ModelSource), `resolve`, `gguf`, `check` (do the tensors fit), `finite_weights`,
`loading` (Base), `chat`, `chat_templates`, `oom` (retry in smaller batches).
"""
