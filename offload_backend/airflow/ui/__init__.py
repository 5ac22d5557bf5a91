"""The page about state in Airflow's own UI: a plugin for the API server, which alone imports what is in here."""
