"""The worlds: who takes part in each exploration, and for how long."""

from __future__ import annotations

from dataclasses import replace

from tests.model.world import NOTHING, Limits, Step, World


def _set(blob: int) -> Step:
    return Step("set", blob)


READ, DELETE, CLEAR = Step("read", 0), Step("delete", 0), Step("clear", 0)

WRITERS = World(
    name="writers",
    about="two writers of one asset's key, one collector",
    programs=((_set(0),), (_set(1),)),
    key_of=(0, 0),
    collectors=1,
)
ONE_WRITER = World(
    name="one writer",
    about="one writer that may give up, a row that the host removes twice, one collector",
    programs=((_set(0),),),
    gives_up=True,
    removes=2,
    collectors=1,
    limits=Limits(lag=1, skew=2),
)
PAGES = World(
    name="pages",
    about="one task sets twice and may give up; listings come in two pages, and short",
    programs=((_set(0), _set(1)),),
    key_of=(0, 0),
    gives_up=True,
    two_pages=True,
    short_listings=True,
    collectors=1,
)
COLLECTORS = World(
    name="two collectors",
    about="one writer, a row that the host removes, two collectors at once",
    programs=((_set(0),),),
    removes=1,
    collectors=2,
)
NUMBERED = World(
    name="numbering",
    about="one writer; a run's number and its marker are written one after the other, with a crash between",
    programs=((_set(0),),),
    removes=1,
    collectors=1,
    restores=1,
    numbered=True,
)
UNRESTORED = replace(NUMBERED, name="numbering alone", about="the same without a restored database", restores=0)
TOGETHER = World(
    name="together",
    about="two writers of one asset's key, of which one deletes it; reclaimer and collector side by side",
    programs=((_set(0), DELETE), (_set(1),)),
    key_of=(0, 0),
    reclaim="airflow",
    collectors=1,
)
ASSET = World(
    name="asset",
    about="two writers of one asset's key set, read and delete; answers are lost and requests repeated",
    programs=((_set(0), READ, DELETE), (_set(1), DELETE)),
    key_of=(0, 0),
    reclaim="airflow",
    removes=1,
    ticks=False,
)
SAME_BYTES = replace(ASSET, name="same bytes", about="as asset, and both write the same bytes", same_bytes=True)
ATTEMPTS = World(
    name="attempts",
    about="an attempt and its zombie: the second resumes from the first one's row, both delete",
    programs=((_set(0), _set(1), DELETE), (READ, _set(2), DELETE)),
    key_of=(0, 0, 0),
    attempts=True,
    reclaim="airflow",
    removes=1,
    ticks=False,
)
SUPERSEDE = World(
    name="superseding",
    about="one attempt sets four times and may give up waiting; a second resumes",
    programs=((_set(0), _set(1), _set(2), _set(3)), (READ, _set(4))),
    key_of=(0, 0, 0, 0, 0),
    attempts=True,
    reclaim="airflow",
    gives_up=True,
    ticks=False,
)
CLEARED = World(
    name="clear_on_success",
    about="an attempt sets and succeeds, or is killed on the way; the next resumes",
    programs=((_set(0), CLEAR), (READ, _set(1), CLEAR), (READ, CLEAR)),
    key_of=(0, 0),
    attempts=True,
    reclaim="airflow",
    ticks=False,
)
EMBEDDED = World(
    name="embedded",
    about="without Airflow: each commit returns the text it replaced, and that blob goes at once",
    programs=((_set(0), _set(1)), (_set(2), _set(3))),
    key_of=(0, 0, 0, 0),
    reclaim="embedded",
    retries=False,
    removes=1,
    ticks=False,
)
RESTORED = World(
    name="restored",
    about="one writer, a row that the host removes twice, a database that is restored twice, one collector",
    programs=((_set(0),),),
    removes=2,
    restores=2,
    collectors=1,
)
RESTORED_ROW = World(
    name="restored row",
    about="an old row that the host removes twice, a database that is restored twice, one collector",
    programs=(),
    committed=(0,),
    removes=2,
    restores=2,
    collectors=1,
)
RESTORED_TWO = replace(
    RESTORED_ROW,
    name="restored, two collectors",
    about="the same with two collectors at once, restored once",
    restores=1,
    collectors=2,
)
ARCHIVED = World(
    name="archived",
    about="rows are archived; archives are dropped, or exported and imported again",
    programs=((_set(0),),),
    removes=1,
    archives=True,
    exports_archive=True,
    collectors=1,
)
EXPIRED = World(
    name="expired",
    about="a row expires while another writer sets it",
    programs=((_set(0),), (_set(1),)),
    key_of=(0, 0),
    expires=True,
    ticks=False,
)
REWRITTEN = World(
    name="rewritten",
    about="a row is rewritten while its writer may give up, the host removes it, and a collector runs",
    programs=((_set(0),),),
    key_of=(0, 0),
    rewrites=1,
    gives_up=True,
    removes=1,
    collectors=1,
)
REWRITTEN_ASSET = replace(
    ASSET,
    name="rewritten, asset",
    about="a row is rewritten beside two writers of an asset's key that read and delete, and their reclaimer",
    key_of=(0, 0, 0),
    rewrites=2,
)
REWRITTEN_ATTEMPTS = replace(
    ATTEMPTS,
    name="rewritten, attempts",
    about="a row is rewritten beside an attempt and its zombie, and their reclaimer",
    key_of=(0, 0, 0, 0),
    rewrites=3,
)
CLONED = World(
    name="cloned",
    about="the database is cloned for staging, whose collector, the second, is given the same location",
    programs=((_set(0),),),
    removes=1,
    clones=True,
    collectors=2,
)
SHARED = World(
    name="shared location",
    about="two deployments, each with its own database, below one location",
    programs=((), (_set(1),)),
    committed=(0, NOTHING),
    removes=1,
    keys=2,
    key_of=(0, 1),
    foreign=0b10,
    collectors=1,
)
MOVED = World(
    name="second location",
    about="the same blobs are configured under a second location, through which one writer names its own",
    programs=((), (_set(1),)),
    committed=(0, NOTHING),
    removes=1,
    keys=2,
    key_of=(0, 1),
    aliased=0b10,
    collectors=1,
)
LATE = World(
    name="late",
    about="a writer that is paused between upload and commit, past F but for less than G + Q",
    programs=((_set(0),),),
    removes=2,
    retries=False,
    seen_rows=True,
    collectors=1,
    limits=Limits(pause=3),
)
EXPORTED = World(
    name="exported roots",
    about="the collector cannot reach the database and reads exports of it",
    programs=((_set(0),),),
    gives_up=True,
    removes=2,
    exports=True,
    collectors=1,
)
TASK_AND_HOST = World(
    name="task and host",
    about="one task sets and deletes with an eager reclaimer, beside what operators do to the database",
    programs=((_set(0), DELETE),),
    attempts=True,
    reclaim="airflow",
    collectors=1,
)
COPIED_ROW = World(
    name="copied ref",
    about="two rows hold one ref, of a cloned database or copied by hand; a task reads one and deletes it",
    programs=((READ, DELETE),),
    keys=2,
    key_of=(0,),
    attempts=True,
    reclaim="airflow",
    ticks=False,
    committed=(0, 0),
)


def within(world: World, **limits: int) -> World:
    """The same world with other limits."""
    return replace(world, limits=replace(world.limits, **limits))
