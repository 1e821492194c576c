"""Permissions, one enum: `what:act`. A role is a set of them, a route needs exactly one."""

from __future__ import annotations

from enum import StrEnum


class Permission(StrEnum):
    """What a principal may be permitted to do."""

    COLLECTION_CREATE = "collection:create"
    COLLECTION_READ = "collection:read"
    COLLECTION_CHANGE = "collection:change"
    SUBJECT_CREATE = "subject:create"
    SUBJECT_READ = "subject:read"
    SUBJECT_MERGE = "subject:merge"
    RECORD_CREATE = "record:create"
    RECORD_READ = "record:read"
    RECORD_SEARCH = "record:search"
    RECORD_CHANGE = "record:change"
    RECORD_DELETE = "record:delete"
    IMPORT_RUN = "import:run"
    IMPORT_READ = "import:read"
    EXPORT_RUN = "export:run"
    EXPORT_READ = "export:read"
    LEDGER_READ = "ledger:read"
    LEDGER_VERIFY = "ledger:verify"
    TENANT_CREATE = "tenant:create"
    TENANT_READ = "tenant:read"
    TENANT_CHANGE = "tenant:change"
    APIKEY_CREATE = "apikey:create"
    APIKEY_READ = "apikey:read"
    APIKEY_REVOKE = "apikey:revoke"
    KEYS_READ = "keys:read"
    FINDING_READ = "finding:read"
    PROVE_RUN = "prove:run"
    DEPLOYMENT_OPERATE = "deployment:operate"
