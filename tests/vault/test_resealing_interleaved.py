"""Any interleaving of writes, deletions, merges and pages of rotations ends with all states new, all values right."""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from vault.stack import Stack
from vault.test_resealing import engine, kids, replayed
from wellkeep.base.errors import NotFound
from wellkeep.vault import resealing_pace
from wellkeep.vault.outcomes import Written
from wellkeep.vault.resealing import Rotation, Tier

TIERS = (Tier.SUBJECT, Tier.DATA, Tier.INDEX)
ACTS = 60


class Story:
    """What one seed tells: a model of what is stored, beside the store."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self.stack = stack
        self.random = random.Random(seed)  # noqa: S311  # a seed that can be told again, nothing secret
        self.model: dict[UUID, tuple[str, dict[str, str], int]] = {}
        self.past: list[tuple[str, UUID, int, dict[str, str]]] = []
        self.subjects: list[UUID] = []
        self.rotations: dict[Tier, Rotation] = {}
        self.count = 0

    async def act(self) -> None:
        """Do one thing, whichever comes."""
        await self.random.choice(
            [self.create, self.create, self.change, self.change, self.delete, self.merge, self.step]
        )()

    async def create(self) -> None:
        """Store a record of a patient, of a patient's note, or of nobody."""
        records = self.stack.vault.records
        self.count += 1
        name = self.random.choice(["patients", "notes", "wards"] if self.subjects else ["patients", "wards"])
        fields = {
            "patients": {"ssn": f"{self.count:09}", "family": f"Fam{self.count % 3}"},
            "notes": {"text": f"t{self.count}", "code": f"c{self.count % 3}"},
            "wards": {"title": f"w{self.count}"},
        }[name]
        subject = self.random.choice(self.subjects) if name == "notes" else None
        made: Written = await records.create(self.stack.integration, name, dict(fields), subject=subject)
        if name == "patients" and made.subject is not None:
            self.subjects.append(made.subject)
        self.model[made.id] = (name, fields, 1)

    async def change(self) -> None:
        """Set one field of a record that is there."""
        if not self.model:
            return
        record = self.random.choice(sorted(self.model))
        name, fields, revision = self.model[record]
        self.count += 1
        field = {"patients": "family", "notes": "text", "wards": "title"}[name]
        changed = {field: f"new{self.count}"}
        await self.stack.vault.records.change(self.stack.integration, name, record, dict(changed), expected=revision)
        self.past.append((name, record, revision, fields))
        self.model[record] = (name, {**fields, **changed}, revision + 1)

    async def delete(self) -> None:
        """Delete a record, now and then."""
        if not self.model or self.random.random() < 0.6:
            return
        record = self.random.choice(sorted(self.model))
        name, _, revision = self.model.pop(record)
        await self.stack.vault.records.delete(self.stack.integration, name, record, expected=revision)
        self.past = [one for one in self.past if one[1] != record]
        with pytest.raises(NotFound):
            await self.stack.vault.records.read(self.stack.integration, name, record)

    async def merge(self) -> None:
        """Merge two patients, now and then."""
        if len(self.subjects) < 3 or self.random.random() < 0.7:
            return
        one, other = self.random.sample(self.subjects, 2)
        await self.stack.vault.subjects.merge(self.stack.caller("privacy_officer"), one, into=other)
        self.subjects.remove(one)
        self.subjects.remove(other)

    async def step(self) -> None:
        """Do a page of a rotation, or begin one."""
        tier = self.random.choice(TIERS)
        current = self.rotations.get(tier)
        resealing = engine(self.stack)
        if current is None or not current.running:
            self.rotations[tier] = await resealing.start(self.stack.administrator, tier)
        else:
            self.rotations[tier], _ = await resealing.step(self.stack.tenant, current)

    async def end(self) -> None:
        """Finish what was begun, one tier more for each that was not, and hold all against the model."""
        before = await kids(self.stack) | await kids(self.stack, of_nobody=True)
        resealing = engine(self.stack)
        for current in self.rotations.values():
            assert (await resealing.run(self.stack.tenant, current.id)).conflicts == 0
        for tier in TIERS:
            begun = await resealing.start(self.stack.administrator, tier)
            ended = await resealing.run(self.stack.tenant, begun.id)
            assert (ended.state, ended.conflicts) == ("done", 0)
        assert not (await kids(self.stack) | await kids(self.stack, of_nobody=True)) & before
        await self.read_all()

    async def read_all(self) -> None:
        """Read every record and every revision, and find every one by its index."""
        records, search = self.stack.vault.records, self.stack.vault.search
        for record, (name, fields, revision) in self.model.items():
            view = await records.read(self.stack.integration, name, record)
            assert (view.fields, view.revision) == (fields, revision)
            where = {"patients": "ssn", "notes": "code", "wards": "title"}[name]
            found = await search.search(self.stack.integration, name, {where: fields[where]})
            assert record in [one.id for one in found.records]
        for name, record, revision, fields in self.past:
            older = await records.read(self.stack.integration, name, record, revision=revision)
            assert older.fields == fields


@pytest.mark.parametrize("seed", range(6))
async def test_any_interleaving(stack: Stack, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("MOST", "LEAST"):
        monkeypatch.setattr(resealing_pace, bound, 1 + seed % 3)
    story = Story(stack, seed)
    for _ in range(ACTS):
        await story.act()
    await story.read_all()
    await story.end()
    assert await replayed(stack) == []
