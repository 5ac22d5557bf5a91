"""Mutants of the page in Airflow's UI: who gets what, what is believed, what is bounded, and what stays text."""

from __future__ import annotations

__all__ = ["UI"]

_PERMISSIONS = ("tests/ui/test_permissions.py",)
_ROWS = ("tests/ui/test_rows.py",)
_CONTENTS = ("tests/ui/test_contents.py",)
_BOUNDS = ("tests/ui/test_bounds.py",)
_BROWSER = ("tests/ui/test_browser.py",)

UI = {
    ("airflow/ui/access.py", _PERMISSIONS): [
        (
            'Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.TASK_INSTANCE))',
            "signed_in",
            "whoever is logged in reads task state",
        ),
        (
            'if manager.is_authorized_asset(method="GET", details=AssetDetails(id=str(each)), user=user)',
            "if each",
            "assets that one may not read are listed",
        ),
        (
            "    _plain: Annotated[None, Depends(_require_plain_id)],\n",
            "",
            "another spelling of an asset's id is another asset to the auth manager",
        ),
    ],
    ("airflow/ui/answers.py", _PERMISSIONS): [
        (
            '"/assets/{asset_id}/download", dependencies=[may_read_assets]',
            '"/assets/{asset_id}/download"',
            "an asset's value is sent to anybody",
        ),
    ],
    ("airflow/ui/answers.py", _BOUNDS): [
        ("            self._download.close()\n", "            pass\n", "a download that ends early keeps its turn"),
    ],
    ("airflow/ui/answers.py", _CONTENTS): [
        ('        "Content-Encoding": "identity",', "", "a download cut short passes for a whole one"),
    ],
    ("airflow/ui/rows.py", _PERMISSIONS): [
        ("[_TASK.dag_id.in_(dags), *(", "[*(", "DAGs that one may not read are listed"),
        ("_TASK.id == row_id, _TASK.dag_id == dag_id", "_TASK.id == row_id", "a row is had by another DAG's name"),
    ],
    ("airflow/ui/sizes.py", _ROWS): [
        ("_DIGITS = 15", "_DIGITS = 19", "a forged size is more than a sum holds exactly"),
        (
            'f"COALESCE(CAST({stated} AS DOUBLE PRECISION), 0)"',
            'f"CAST({stated} AS DOUBLE PRECISION)"',
            "a forged size ends the sums",
        ),
        (", ~or_(*inline)", "", "a value that quotes a ref counts as offloaded"),
    ],
    ("airflow/ui/contents.py", _BOUNDS): [
        (
            "    except (ValueError, RecursionError):\n",
            "    except ValueError:\n",
            "JSON that is deep is the server's error",
        ),
        ("        self._signatures.check(text)\n", "", "refs that nobody signed are believed"),
        ("            held.enter_context(self._sent.taken())\n", "", "a server sends any number of values at once"),
        ("with self._shown.taken(), concerning", "with concerning", "a server opens any number of values at once"),
        ("any(is_own(scope, key) for is_own in own)", "bool(own)", "a row opens what was stored for another"),
        ("if ref.raw > MOST_DOWNLOADED:", "if not ref.raw:", "a browser is sent any size"),
    ],
    ("airflow/ui/contents.py", _CONTENTS): [
        ('if ref.codec not in ("json", "tree"):', "if not ref.codec:", "pickles are sent"),
        ("        self._left -= length\n", "", "a structure of any size is read"),
        (
            "if left < 0:\n                break",
            "if left < 0:\n                continue",
            "indented JSON grows without end",
        ),
    ],
    ("airflow/ui/app.py", _CONTENTS): [
        ('    app.middleware("http")(_with_headers)\n', "", "answers go out without the policy"),
        ("    app.add_exception_handler(Exception, _failed)\n", "", "a failure goes out without the policy"),
    ],
    ("airflow/ui/plugin.py", ("tests/ui/test_plugin.py",)): [
        (
            "import AirflowPlugin\n",
            "import AirflowPlugin\n\nimport offload_backend.airflow.ui.app\n",
            "every task imports FastAPI",
        ),
        ("            self.external_views = []\n", "            raise\n", "the API server does not start"),
    ],
    ("airflow/ui/static/dom.js", _BROWSER): [
        (
            "  element.append(...real(children));",
            "  for (const child of real(children)) child.nodeType ? element.append(child) : "
            'element.insertAdjacentHTML("beforeend", child);',
            "keys and values are markup",
        ),
    ],
}
