"""For the tests of others: contracts that adapters keep, and faults to inject."""
