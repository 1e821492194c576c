"""Erasure over HTTP: a patient erased, and the certificate of it as JSON or as one page to print."""

from __future__ import annotations

import asyncio

from wellkeep.api import answers, erasure_page, limits, query
from wellkeep.api.answers import HTML, Answer
from wellkeep.api.headers import wants_html
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import Conflict, LegalHold
from wellkeep.base.permissions import Permission
from wellkeep.vault.erasure_certificate import Certificate

_SUBJECT = "/v1/subjects/{subject_id}"
_TENANT = "/v1/tenants/{tenant_id}"


async def erase(call: Call) -> Answer:
    """Erase a patient and all who were merged into it; again is the same certificate."""
    erasing, subject = call.runtime.erasing, call.identifier("subject_id")
    await erasing.subjects.erase(call.caller, subject)
    return answers.json(await erasing.certificates.of_erased(call.caller, subject))


async def of_subject(call: Call) -> Answer:
    """Return the certificate of a patient's erasure."""
    return await _shown(
        call, await call.runtime.erasing.certificates.of_subject(call.caller, call.identifier("subject_id"))
    )


async def of_tenant(call: Call) -> Answer:
    """Return the certificate of a tenant's erasure."""
    return await _shown(
        call, await call.runtime.erasing.certificates.of_tenant(call.caller, call.identifier("tenant_id"))
    )


async def _shown(call: Call, found: Certificate) -> Answer:
    wanted = call.query.get(query.FORMAT.name)
    if wanted == "html" or (wanted is None and wants_html(call.found)):
        page = await asyncio.to_thread(erasure_page.render, found)
        return Answer(200, page, media=HTML, headers=(erasure_page.POLICY,))
    return answers.json(found)


ERASURE = (
    Route(
        method="DELETE",
        path=_SUBJECT,
        name="subject_erase",
        summary="Erase a patient: keys, records, history, search tags, files; it can't be undone",
        tag="subjects",
        serve=erase,
        permission=Permission.SUBJECT_ERASE,
        takes=("X-Purpose-Of-Use",),
        returns=Certificate,
        problems=(Conflict, LegalHold),
        seconds=limits.LONG_REQUEST_SECONDS,
    ),
    Route(
        method="GET",
        path=_SUBJECT + "/erasure",
        name="subject_erasure",
        summary="The certificate of a patient's erasure; as JSON, or as a page to print",
        tag="subjects",
        serve=of_subject,
        permission=Permission.ERASURE_READ,
        query=(query.FORMAT,),
        takes=("X-Purpose-Of-Use",),
        returns=Certificate,
        also_media="text/html",
    ),
)
TENANT_ERASURE = (
    Route(
        method="GET",
        path=_TENANT + "/erasure",
        name="tenant_erasure",
        summary="The certificate of a tenant's erasure; as JSON, or as a page to print",
        tag="tenants",
        serve=of_tenant,
        permission=Permission.ERASURE_READ,
        query=(query.FORMAT,),
        returns=Certificate,
        also_media="text/html",
    ),
)
