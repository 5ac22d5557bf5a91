"""Each way in which rows vanish on the server without the worker's backend being told, on a real Airflow.

What the paths of Airflow 3.3.2 and 3.4.0b2 are produced by:

==  ==============================================  =====================================================
 1  foreign key from a DAG run                      by 2, 3, 4 and 15: no other code deletes DAG runs
 2  DAG runs deleted                                ``runs``: REST, one and in bulk
 3  a DAG deleted                                   ``runs``: REST, ``airflow dags delete``
 4  ``airflow db clean``, DAG runs                  ``runs``
 5  ``airflow db clean``, expired rows              ``values`` without an archive; ``aftermath`` with one
 6  ``airflow state-store clean``                   ``values``; it declines only with a backend on the server
 7  marked success under ``clear_on_success``       ``attempts``: one, in bulk, a task group
 8  success under ``clear_on_success``              ``attempts``; ``staying`` where only the worker clears
 9  task instances cleared                          ``attempts`` in 3.4, ``staying`` in 3.3
10  state deleted through REST                      ``values``: a key, a task instance, all map indices
11  state overwritten through REST                  ``values``: PUT, PATCH
12  state of assets through REST                    ``assets``: a key, all, PUT
13  the scheduler's sweep of assets                 ``assets``: its own method, after the DAG was deleted
14  foreign key from an asset                       ``assets``: by SQL, since nothing in Airflow deletes assets
15  throw-away DAG runs                             ``runs``: ``airflow tasks test``, ``airflow dags test``
16  ``airflow db reset``, ``airflow db downgrade``  ``aftermath``: refused
17  a backend on the server that loses rows         ``values``
==  ==============================================  =====================================================

Not produced: the rollback of a backfill that fails half way (15), which deletes DAG runs before any task has
run in them; the downgrade from 3.4 to 3.3 (16), which needs both versions in one environment and takes regions
from rows, not rows; ``airflowctl``, which sends the REST requests of 2, 3 and 9 to 12. What keeps its rows is in
``staying``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from offload_backend.errors import ConfigError, RefusedError
from tests.airflow.vanishing.aftermath import STAYING, VANISHING

if TYPE_CHECKING:
    from tests.airflow.vanishing.aftermath import Aftermath, Producer


pytestmark = pytest.mark.timeout(600)  # the first test waits for the whole story


def title(producer: Producer) -> str:
    return producer.__name__.replace("_", " ")


@pytest.mark.parametrize("producer", VANISHING, ids=title)
def test_the_collector_takes_exactly_the_blobs_of(aftermath: Aftermath, producer: Producer) -> None:
    fate = aftermath.fate(producer)
    if fate is None:
        pytest.skip("this version of Airflow keeps these rows")
    assert fate.lost
    assert fate.lost <= aftermath.today.before
    assert not fate.lost & aftermath.today.after
    assert fate.kept <= aftermath.today.after


@pytest.mark.parametrize("producer", STAYING, ids=title)
def test_the_collector_leaves_the_blobs_of(aftermath: Aftermath, producer: Producer) -> None:
    fate = aftermath.fate(producer)
    if fate is None:
        pytest.skip("this version of Airflow does not keep these rows")
    assert fate.kept
    assert fate.kept <= aftermath.today.after
    assert not fate.lost & aftermath.today.after


def test_all_that_no_row_names_goes_and_nothing_else(aftermath: Aftermath) -> None:
    live = frozenset(aftermath.resolved)
    assert aftermath.today.after == live | aftermath.archived | aftermath.young
    garbage = aftermath.by_database.garbage - aftermath.young - aftermath.returned
    assert garbage == aftermath.today.before - aftermath.today.after
    assert aftermath.today.purged.deleted.count == len(garbage)


def test_every_value_that_a_row_names_is_read_as_it_was_written(aftermath: Aftermath) -> None:
    assert len(aftermath.resolved) > 40
    for resolved, written in aftermath.resolved.values():
        assert resolved == written


def test_tasks_go_on_from_what_they_wrote_before_the_collection(aftermath: Aftermath) -> None:
    of_task, of_asset = aftermath.read_again
    assert of_task[0] == "vanishing"
    assert of_task[2:] == ["write", -1, "a"]
    assert of_asset == ["vanishing_kept", "b"]


def test_nothing_goes_on_the_day_it_is_marked(aftermath: Aftermath) -> None:
    first, second = aftermath.a_week_ago, aftermath.today
    assert first.after == first.before == second.before
    assert first.purged.deleted.count == 0
    assert first.purged.waiting.count == first.marked.counts.marked.count > 0
    quarantine = first.marked.limits.quarantine
    assert first.marked.now + quarantine <= first.marked.next_deletion <= second.marked.now


def test_a_blob_that_is_not_old_enough_stays_although_no_row_names_it(aftermath: Aftermath) -> None:
    assert aftermath.young
    assert aftermath.young <= aftermath.by_database.garbage
    assert aftermath.young <= aftermath.without_archives.after


def test_a_blob_whose_row_comes_back_between_mark_and_purge_is_rescued(aftermath: Aftermath) -> None:
    assert aftermath.returned
    assert aftermath.returned <= aftermath.by_database.garbage
    assert aftermath.today.purged.counts.rescued.count == len(aftermath.returned)
    assert aftermath.returned <= frozenset(aftermath.resolved)


def test_rows_in_an_archive_keep_their_blobs_until_the_archive_is_dropped(aftermath: Aftermath) -> None:
    assert aftermath.archived
    assert not aftermath.archived & aftermath.by_database.garbage
    assert aftermath.archived <= aftermath.without_archives.before
    assert aftermath.without_archives.before - aftermath.without_archives.after == aftermath.archived


def test_through_rest_nothing_is_garbage_that_the_database_keeps(aftermath: Aftermath) -> None:
    by_rest, by_database = aftermath.by_rest.garbage, aftermath.by_database.garbage
    assert by_rest - aftermath.archived <= by_database
    assert len(by_rest & by_database) > len(by_database) / 2, aftermath.by_rest.hidden


def test_through_rest_the_collector_marks_what_the_roots_leave_and_nothing_else(aftermath: Aftermath) -> None:
    marked = aftermath.marked_through_rest.counts.marked
    assert marked.count == len(aftermath.by_rest.garbage - aftermath.young)


def test_after_airflow_db_reset_and_downgrade_the_collector_refuses(aftermath: Aftermath) -> None:
    as_it_was, adopted_again, downgraded = aftermath.after_reset
    for error in (as_it_was, adopted_again):
        assert isinstance(error, RefusedError)
        assert [refusal.rule for refusal in error.refusals] == ["no-roots"]
    assert isinstance(downgraded, ConfigError)
    assert aftermath.in_the_end == aftermath.without_archives.after
