"""What the tests of impersonation and break-glass stand on: a whole process, a customer with patients, and staff."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from access.signed_in import joined, sent_by, session
from api.stack import Stack, entries
from wellkeep.access.sessions import Begun
from wellkeep.base.ids import PLATFORM_TENANT, parse_uuid

PATIENTS = {
    "name": "patients",
    "subject": "self",
    "fields": [
        {
            "name": "ssn",
            "type": "string",
            "class": "pii",
            "index": "unique",
            "normaliser": "digits",
            "group": "identifier",
        },
        {"name": "family", "type": "string", "class": "pii", "index": "exact", "group": "demographic"},
        {"name": "given", "type": "string", "class": "pii", "index": "prefix", "group": "demographic"},
        {"name": "note", "type": "text", "class": "phi", "group": "clinical"},
        {"name": "balance", "type": "string", "class": "pii", "group": "financial"},
    ],
}
WHY = "Ticket 4711: the list of visits stays empty"


@dataclass
class Who:
    """Somebody who is signed in: who they are, and what their browser sends."""

    tenant: UUID
    person: UUID
    begun: Begun
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Ward:
    """One customer's place, over a whole process."""

    process: Stack
    tenant: UUID
    patients: list[dict[str, Any]]

    async def signed_in(self, *roles: str, tenant: UUID | None = None, fresh: bool = True) -> Who:
        """Return a new person with these roles, of the customer unless told otherwise."""
        place = self.tenant if tenant is None else tenant
        person = await joined(self.process, place, *roles)
        return await self.again(place, person, fresh=fresh)

    async def again(self, tenant: UUID, person: UUID, *, fresh: bool = True) -> Who:
        """Return another session of a person."""
        begun = await session(self.process, tenant, person, fresh=fresh, ip=None)
        return Who(tenant, person, begun, sent_by(begun))

    async def staff(self, *roles: str, fresh: bool = True) -> Who:
        """Return one of the deployment's staff, who helps customers unless told otherwise."""
        return await self.signed_in(*(roles or ("support",)), tenant=PLATFORM_TENANT, fresh=fresh)

    async def send(
        self, who: Who | str | None, method: str, url: str, *, admin: bool = False, **more: Any
    ) -> httpx.Response:
        """Send a request as somebody: a signed-in person, or who has this bearer token."""
        headers = dict(more.pop("headers", {}))
        if isinstance(who, Who):
            headers |= who.headers
        elif who is not None:
            headers["Authorization"] = f"Bearer {who}"
        async with self.process.client(listener="admin" if admin else "public") as client:
            return await client.request(method, url, headers=headers, **more)

    async def step_in(
        self, staff: Who, person: UUID, *, tenant: UUID | None = None, reason: str = WHY
    ) -> httpx.Response:
        """Step into the account of a person."""
        asked = {"tenant": str(tenant or self.tenant), "person": str(person), "reason": reason}
        return await self.send(staff, "POST", "/v1/impersonations", admin=True, json=asked)

    async def token(self, staff: Who, person: UUID) -> tuple[str, str]:
        """Return the id and the token of a new impersonation."""
        answer = await self.step_in(staff, person)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"], answer.json()["token"]

    async def events(self, action: str | None = None) -> list[dict[str, Any]]:
        """Return the events of the customer's log, oldest first."""
        found: list[dict[str, Any]] = await entries(self.process, self.tenant)
        return [event for event in found if action in {None, event["action"]}]

    async def found(self, tenant: UUID | None = None) -> list[tuple[str, str]]:
        """Return kind and severity of the open findings."""
        await self.process.findings.flush()
        return [(one.kind, one.severity) for one in await self.process.findings.list(tenant or self.tenant)]

    async def as_owner(self, sql: str, *arguments: object) -> None:
        """Run SQL that no policy binds: how a test sets the time."""
        async with self.process.database.connect() as connection:
            await connection.execute(sql, *arguments)

    def record(self, place: int = 0) -> str:
        """Return the address of a patient's record."""
        return f"/v1/collections/patients/records/{self.patients[place]['id']}"

    def subject(self, place: int = 0) -> UUID:
        """Return a patient's id."""
        found = parse_uuid(self.patients[place]["subject"])
        assert found is not None
        return found


async def ward(process: Stack, name: str = "ward") -> Ward:
    """Return a customer with three patients, two of the same family name."""
    tenant = await process.tenant(name)
    administrator, clinic = await process.key(tenant, "administrator"), await process.key(tenant, "integration")
    made = Ward(process, tenant, [])
    answer = await made.send(administrator, "POST", "/v1/collections", json=PATIENTS)
    assert answer.status_code == 201, answer.text
    for number, family in enumerate(("Doe", "Roe", "Roe")):
        fields = {"ssn": f"99912000{number}", "family": family, "given": "Kim", "note": "ill", "balance": "10"}
        url = "/v1/collections/patients/records"
        answer = await made.send(clinic, "POST", url, json={"fields": fields})
        assert answer.status_code == 201, answer.text
        made.patients.append(answer.json())
    return made
