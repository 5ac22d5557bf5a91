"""Blob store adapters. Each imports its driver when it is first used, never before."""
