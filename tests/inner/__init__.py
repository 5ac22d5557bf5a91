"""Tests of the inner layer: data, formats, ports and policy, without a network."""
