"""The nightly run as an Airflow DAG (Airflow 3): label what is new or changed, wait for the run's summary, show it.

The worker needs `curator` on its PATH, and CURATOR_CONFIG and CURATOR_OUTPUT in its environment: the settings (path or
url) and the output. A run is named by its logical date, so that a retry or a cleared task resumes it, and does nothing
where it was completed.
"""

from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

WINDOW_S = 18_000

with DAG(
    dag_id="curator_nightly",
    schedule="0 1 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,  # the lock of the output would refuse a second one, too
    dagrun_timeout=timedelta(seconds=WINDOW_S + 3600),  # a window that is over is a failure, which would be retried
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5), "append_env": True},
    tags=["curator"],
) as dag:
    label = BashOperator(
        task_id="label",
        bash_command=(
            'curator --verbose label --config "$CURATOR_CONFIG" --output "$CURATOR_OUTPUT" '
            f"--run-id {{{{ ds }}}} --max-seconds {WINDOW_S}"
        ),
        execution_timeout=timedelta(seconds=WINDOW_S + 1800),
    )
    wait = BashOperator(
        task_id="wait",
        bash_command='curator wait "$CURATOR_OUTPUT" --run-id {{ ds }} --timeout 600',
        retries=0,
    )
    status = BashOperator(task_id="status", bash_command='curator status "$CURATOR_OUTPUT"')
    label >> wait >> status
