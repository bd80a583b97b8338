from support.sdk_rig import nothing_is_swallowed, own_client

__all__ = ["nothing_is_swallowed", "own_client"]
