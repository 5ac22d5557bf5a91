"""The ``offload`` command."""
