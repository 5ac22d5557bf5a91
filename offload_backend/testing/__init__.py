"""For the tests of others: a pytest plug-in, contracts that adapters keep, and faults to inject."""
