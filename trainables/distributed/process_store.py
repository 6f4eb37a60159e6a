"""The key-value store that the workers of a group share. No torch until it is asked for."""

from __future__ import annotations

from typing import Any


def store_of_group() -> Any:
    """Returns the store of the default process group; None where a worker is alone.

    It lives as long as the group, so a group that is started again begins with an empty one.
    """
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    return dist.distributed_c10d._get_default_store()
