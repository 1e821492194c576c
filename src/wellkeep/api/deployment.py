"""How the deployment stands, over HTTP, for the platform's own people on the administration listener."""

from __future__ import annotations

import msgspec

from wellkeep.api import answers
from wellkeep.api.answers import Answer
from wellkeep.api.routes import Call, Route
from wellkeep.assembly.condition import Condition
from wellkeep.base.errors import Unavailable
from wellkeep.base.permissions import Permission

_ONE = "/v1/deployment"


class MigrationShown(msgspec.Struct, frozen=True):
    """A migration of the database, and whether it was applied."""

    name: str
    state: str


class DeploymentShown(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment stands.

    `parts` are those of `/readyz`; `keys` counts tenants by how their keys stand in the process that answers,
    `findings` the open ones by severity; `migrations` are the newest first.
    """

    version: str
    environment: str
    host: str
    embedded: bool
    parts: dict[str, bool]
    keys: dict[str, int]
    findings: dict[str, int]
    listening: dict[str, str]
    migrations: list[MigrationShown]


class VerdictShown(msgspec.Struct, frozen=True):
    """One thing that was looked at; `mend` says what to do where it is not fine."""

    what: str
    fine: bool
    mend: str


class Examination(msgspec.Struct, frozen=True):
    """What stands between the deployment and production."""

    fit: bool
    verdicts: list[VerdictShown]


async def read(call: Call) -> Answer:
    """Return how it stands."""
    return answers.json(_shown(await call.runtime.conditions.read(call.caller)))


async def examine(call: Call) -> Answer:
    """Look at everything that `wellkeep doctor` looks at."""
    found = await call.runtime.conditions.examine(call.caller)
    verdicts = [VerdictShown(one.what, one.fine, one.mend) for one in found]
    return answers.json(Examination(all(one.fine for one in found), verdicts))


def _shown(one: Condition) -> DeploymentShown:
    return DeploymentShown(
        version=one.version,
        environment=one.environment,
        host=one.host,
        embedded=one.embedded,
        parts=dict(one.parts),
        keys=dict(one.keys),
        findings=dict(one.findings),
        listening=dict(one.listening),
        migrations=[MigrationShown(each.label, each.state.value) for each in one.migrations],
    )


DEPLOYMENT = (
    Route(
        method="GET",
        path=_ONE,
        name="deployment_read",
        summary="How the deployment stands: parts, keys, findings, listeners, migrations",
        tag="deployment",
        serve=read,
        permission=Permission.DEPLOYMENT_READ,
        returns=DeploymentShown,
    ),
    Route(
        method="GET",
        path=_ONE + "/examination",
        name="deployment_examine",
        summary="What stands between the deployment and production, as wellkeep doctor says it",
        tag="deployment",
        serve=examine,
        permission=Permission.DEPLOYMENT_READ,
        returns=Examination,
        problems=(Unavailable,),
        weight=5,
    ),
)
