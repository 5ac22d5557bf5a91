"""Core stores: adapters for the places where rows live."""
