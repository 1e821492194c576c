"""The closed vocabulary of what an entry can say happened, and how it ended."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """What was done or attempted; grows by review alone."""

    RECORD_CREATE = "record.create"
    RECORD_READ = "record.read"
    RECORD_SEARCH = "record.search"
    RECORD_CHANGE = "record.change"
    RECORD_DELETE = "record.delete"
    RECORD_BATCH = "record.batch"
    RECORD_IMPORT = "record.import"
    RECORD_EXPORT = "record.export"
    RECORD_RESEALED = "record.resealed"
    SUBJECT_CREATE = "subject.create"
    SUBJECT_READ = "subject.read"
    SUBJECT_MERGE = "subject.merge"
    COLLECTION_CREATE = "collection.create"
    COLLECTION_READ = "collection.read"
    COLLECTION_CHANGE = "collection.change"
    IMPORT_CREATE = "import.create"
    IMPORT_READ = "import.read"
    EXPORT_CREATE = "export.create"
    EXPORT_READ = "export.read"
    EXPORT_DOWNLOAD = "export.download"
    APIKEY_CREATE = "apikey.create"
    APIKEY_REVOKE = "apikey.revoke"
    APIKEY_LIST = "apikey.list"
    TENANT_CREATE = "tenant.create"
    TENANT_CHANGE = "tenant.change"
    TENANT_CLOSE = "tenant.close"
    TENANT_LIST = "tenant.list"
    ACCESS_DENIED = "access.denied"
    AUTH_FAILED = "auth.failed"
    KEY_CREATED = "key.created"
    KEY_READ = "key.read"
    LEDGER_READ = "ledger.read"
    LEDGER_VERIFIED = "ledger.verified"
    LOG_OPENED = "log.opened"
    LOG_CLOSED = "log.closed"
    DEPLOYMENT_STARTED = "deployment.started"
    DEPLOYMENT_INIT = "deployment.init"
    MIGRATION_APPLIED = "migration.applied"
    PROVE_RUN = "prove.run"
    FINDING_READ = "finding.read"
    FINDING_RESOLVE = "finding.resolve"
    DEFINITIONS_LOADED = "definitions.loaded"
    OPEN_FAILED = "open.failed"


class Outcome(StrEnum):
    """How it ended; `authorised` is an access that was permitted and recorded before it was opened."""

    AUTHORISED = "authorised"
    DONE = "done"
    DENIED = "denied"
    FAILED = "failed"
