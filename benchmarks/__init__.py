"""Side-by-side measurements with Airflow's own common-io backend: ``python -m benchmarks.run``."""
