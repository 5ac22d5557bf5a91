"""A real Airflow with a scheduler, run hard for minutes: retries, kills, deferrals, watchers, clears, deletions."""
