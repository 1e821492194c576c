"""Every store of a deployment that a probe can look into: tables as PostgreSQL gives them, and files as they lie.

Tables are read through COPY in its binary form, which undoes TOAST and its compression (the catalogues
as text, since some of their types have no binary form); files are read raw, so pages,
WAL, logs and spools are seen as a thief of the disk sees them. WAL is only readable raw where `wal_compression` is off.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from wellkeep.db.connection import Connection
from wellkeep.prove.deployment import Deployment
from wellkeep.prove.scan import Feed, Scanner, ScanResult

_RELATIONS = """
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       CASE WHEN n.nspname = 'pg_catalog' THEN 'text' ELSE 'binary' END AS form
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('information_schema')
  AND n.nspname NOT LIKE 'pg\\_temp%' AND n.nspname NOT LIKE 'pg\\_toast%'
ORDER BY 1
"""
_CHECKPOINT = "CHECKPOINT"
_ANALYSE = "ANALYZE"
_WAL_COMPRESSION = "SELECT current_setting('wal_compression')"
_SOFTWARE = "software"


async def scan_database(connection: Connection, scanner: Scanner) -> ScanResult:
    """Scan every table, catalogues and statistics included; `connection` is a superuser's, so no policy hides a row.

    Statistics are gathered first: what the planner would keep of a value some day, it keeps now.
    """
    result = ScanResult()
    await connection.execute(_ANALYSE)
    for row in await connection.fetch(_RELATIONS):
        feed = scanner.open("tables and statistics")

        async def take(chunk: bytes, feed: Feed = feed) -> None:
            feed.feed(chunk)

        # The name comes from the catalogue, quoted by format(%I).
        await connection.copy_from_query(f"SELECT * FROM {row['name']}", output=take, format=row["form"])  # noqa: S608
        result.add(feed.result())
    return result


async def scan_files(deployment: Deployment, connection: Connection, scanner: Scanner) -> ScanResult:
    """Scan the files of the database, its WAL and temporary files, our logs and spools, after a checkpoint."""
    result = ScanResult()
    if await connection.fetchval(_WAL_COMPRESSION) != "off":
        result.unseen.append("the WAL is compressed")
    await connection.execute(_CHECKPOINT)
    root = deployment.home.path / "postgres"
    stores = {
        "WAL": [root / "data" / "pg_wal"],
        "heap, indexes and temporary files": [
            root / "data" / "base",
            root / "data" / "global",
            root / "data" / "pg_stat",
        ],
        "logs": [deployment.home.log, root / "data" / "log"],
        "everything else in the home": [deployment.home.path],
    }
    seen: set[Path] = set()
    for store, folders in stores.items():
        files = [file for folder in folders for file in _files(folder) if file not in seen]
        if not files:
            result.unseen.append(f"{store}: there are no files")
        seen.update(files)
        result.add(scanner.files(store, files))
    return result


def scan_spool(scanner: Scanner, *, since: float) -> ScanResult:
    """Scan what our account has left in the temporary directory since `since` (seconds of the epoch).

    A spool file of ours would lie there; other deployments' directories are theirs, and other accounts' files too.
    """
    root = Path(tempfile.gettempdir())
    result = ScanResult()
    for path in sorted(root.iterdir()):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_mtime >= since:
            result.add(scanner.files("temporary directory", [path]))
    return result


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and _SOFTWARE not in path.parts
    ]
