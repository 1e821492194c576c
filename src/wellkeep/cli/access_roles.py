"""`wellkeep access matrix` and roles: what each role may do and see, those of the package and the tenant's own."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from wellkeep.access.roles import load
from wellkeep.base.permissions import Permission
from wellkeep.cli.access import ADMINISTRATOR
from wellkeep.cli.client import Url, connect
from wellkeep.cli.console import WRONG_USAGE, done, err, print_json, refuse, table
from wellkeep.cli.options import HomeOption, Json

RoleFile = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="Roles in TOML: [roles.NAME] and its parts")
]
RoleName = Annotated[str, typer.Argument(metavar="NAME", help="The role's name")]
_PARTS = frozenset({"permissions", "groups", "purposes", "default_purpose", "hidden"})


def matrix(home: HomeOption = None, url: Url = None, json: Json = False) -> None:
    """Print role by permission, with the field groups that each role sees; with a key, the tenant's own roles too.

    Example: wellkeep access matrix --json
    """
    found = _roles(home, url)
    cells = [_cell(role, permission) for role in found for permission in Permission]
    if json:
        print_json(cells)
        return
    names = [role["name"] for role in found]
    held = {(cell["role"], cell["permission"]) for cell in cells if cell["allowed"]}
    rows = [(one.value, *("yes" if (name, one.value) in held else "" for name in names)) for one in Permission]
    table("Who may do what", ("permission", *names), rows)
    table("Who sees what", ("role", "groups", "but for", "acts for"), [_sees(role) for role in found])


def roles(home: HomeOption = None, url: Url = None, json: Json = False) -> None:
    """List the roles there are: which are the tenant's own, and which reach their own patients alone.

    Example: wellkeep access roles
    """
    with connect(home, url=url, role=ADMINISTRATOR) as api:
        found = api.json("GET", "/v1/roles")["roles"]
    if json:
        print_json(found)
        return
    rows = [
        (
            one["name"],
            f"own, revision {one['revision']}" if one["own"] else "built in",
            "their own patients" if one["bound"] else "all",
            ", ".join(one["groups"]),
        )
        for one in found
    ]
    table("Roles", ("role", "", "reaches", "sees"), rows)


def role_set(file: RoleFile, home: HomeOption = None, url: Url = None, json: Json = False) -> None:
    """Make the roles of a file, or replace those of their names; they hold within five seconds.

    Example: wellkeep access role-set nurse.toml
    """
    wanted = _read(file)
    with connect(home, url=url, role=ADMINISTRATOR) as api:
        made = [api.json("PUT", f"/v1/roles/{name}", json=parts) for name, parts in wanted.items()]
    if json:
        print_json(made)
        return
    for role in made:
        done(f"{role['name']}: revision {role['revision']}.")


def role_delete(name: RoleName, home: HomeOption = None, url: Url = None) -> None:
    """Delete a role of the tenant's own, and take it from whoever has it; their sessions end.

    Example: wellkeep access role-delete nurse
    """
    with connect(home, url=url, role=ADMINISTRATOR) as api:
        api.request("DELETE", f"/v1/roles/{name}")
    done(f"{name} is deleted.")
    err.print("  A key that carries it has nothing by it from now on; revoke it all the same.")


def _read(file: Path) -> dict[str, dict[str, Any]]:
    """Return the roles of `file` by name; ends the command where it is no such file."""
    try:
        text = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        refuse(f"{file} can't be read as TOML.", hint='Write it like [roles.nurse] with permissions = ["record:read"]')
    found = text.get("roles")
    if set(text) != {"roles"} or not isinstance(found, dict) or not found:
        refuse(f"{file} defines no roles.", hint="It begins with [roles.NAME].", code=WRONG_USAGE)
    for name, parts in found.items():
        if not isinstance(parts, dict) or set(parts) - _PARTS:
            refuse(f"[roles.{name}] has a part that no role has.", hint=f"They are: {', '.join(sorted(_PARTS))}")
    return found


def _roles(home: Path | None, url: str | None) -> list[dict[str, Any]]:
    """Return the roles of the key's tenant; without a key those of the package."""
    if os.environ.get("WELLKEEP_API_KEY"):
        with connect(home, url=url, role=ADMINISTRATOR) as api:
            return list(api.json("GET", "/v1/roles")["roles"])
    return [
        {
            "name": role.name,
            "permissions": sorted(role.permissions),
            "groups": sorted(role.groups),
            "purposes": sorted(role.purposes),
            "hidden": [],
            "bound": False,
        }
        for role in load().roles.values()
    ]


def _cell(role: dict[str, Any], permission: Permission) -> dict[str, Any]:
    allowed = permission.value in role["permissions"]
    return {
        "role": role["name"],
        "permission": permission.value,
        "allowed": allowed,
        "groups": role["groups"] if allowed else [],
        "hidden": role["hidden"] if allowed else [],
        "bound": allowed and role["bound"],
    }


def _sees(role: dict[str, Any]) -> tuple[str, ...]:
    reach = " (own patients)" if role["bound"] else ""
    parts = (", ".join(role[part]) for part in ("groups", "hidden", "purposes"))
    return (role["name"] + reach, *parts)
