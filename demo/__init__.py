"""A real Airflow, a real checkpoint, a real crash: ``make demo``. Nothing here is installed with the package."""
