"""What an operation did, told to people and to what they watch with: lines, metrics, spans.

The stores and formats only note what they find out (:mod:`~offload_backend.observation.operation`); the faces have
an :class:`~offload_backend.observation.observer.Observer`, which tells it.
"""
