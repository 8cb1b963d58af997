"""The queue: slots, order, render times and ends. One event loop; only the renderer has threads."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from callsheet.sandbox.endpoints import ENDPOINTS, ServedEndpoint, shot_of
from callsheet.sandbox.faults import Fault
from callsheet.sandbox.images import BadInput, model_error
from callsheet.sandbox.pixels import render_time_s
from callsheet.sandbox.prices import PriceList
from callsheet.sandbox.renderer import RenderedFile, VideoRenderer
from callsheet.sandbox.scene import Scene
from callsheet.sandbox.store import NORMAL, Record, Store

log = logging.getLogger("callsheet.sandbox")


REQUEST_ERRORS = frozenset({"request_timeout", "client_cancelled"})
"""Errors of fal's own that end a request; their body is `detail` as text, a model's is a list."""


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """What the headers of a submit ask for. `start_timeout_s` bounds the wait for a slot."""

    base_url: str
    priority: str = NORMAL
    start_timeout_s: float | None = None
    keep_payloads: bool = True


class RenderQueue:
    """Accepts, starts in order while fewer than `slots` render, finishes. All methods run in one loop."""

    def __init__(
        self,
        state: Store,
        renderer: VideoRenderer,
        prices: PriceList,
        *,
        slots: int,
        speed: float,
        clock: Callable[[], float],
        noise_seed: int = 0,
        render_fault: Callable[[str], Fault | None] = lambda _prompt: None,
    ) -> None:
        self._state = state
        self._renderer = renderer
        self._slots = slots
        self.speed = speed
        # Microseconds, as ISO times carry, so that a time reads back as the same number.
        self._clock: Callable[[], float] = lambda: round(clock(), 6)
        self._noise_seed = noise_seed
        self._render_fault = render_fault
        self._prices = prices
        self._records = {record.id: record for record in state.records()}
        self._open = {record.id: record for record in self._records.values() if record.completed_at is None}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    @property
    def records(self) -> list[Record]:
        """Every request ever accepted, in order of acceptance."""
        return list(self._records.values())

    @property
    def waiting(self) -> list[Record]:
        """Requests without a slot yet, in the order they will start."""
        return sorted((r for r in self._open.values() if r.status == "IN_QUEUE"), key=lambda r: r.place)

    @property
    def rendering(self) -> list[Record]:
        """Requests that hold a slot."""
        return [r for r in self._open.values() if r.status == "IN_PROGRESS"]

    def find(self, owner: str, alias: str, request_id: str) -> Record | None:
        """Find a request by its short URL."""
        record = self._records.get(request_id)
        return record if record and (record.owner, record.alias) == (owner, alias) else None

    def position(self, record: Record) -> int:
        """How many requests are ahead of one that waits."""
        return sum(other.place < record.place for other in self.waiting)

    async def resume(self) -> None:
        """Continue what an earlier process left open."""
        for record in self.rendering:
            self._spawn(self._render(record))
        for record in self.waiting:
            self._watch_deadline(record)
        await self._fill()

    async def stop(self) -> None:
        """Stop every task; the records stay as they are for the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def submit(
        self, endpoint: ServedEndpoint, arguments: Mapping[str, Any], options: SubmitOptions
    ) -> Record:
        """Accept a request. Raises pydantic.ValidationError for arguments against the schema."""
        chosen = random.randrange(2**31)  # noqa: S311 - a seed for pictures, as the model chooses one
        shot = shot_of(endpoint, arguments, chosen)
        now = self._clock()
        record = Record(
            id=str(uuid.uuid4()),
            number=len(self._records) + 1,
            endpoint=endpoint.id,
            arguments=dict(arguments),
            base_url=options.base_url,
            submitted_at=now,
            seed=shot.seed,
            priority=options.priority,
            keep_payloads=options.keep_payloads,
            start_by=None if options.start_timeout_s is None else now + options.start_timeout_s,
            frames=shot.frames,
            audio=shot.audio,
        )
        self._records[record.id] = self._open[record.id] = record
        self._state.save(record)
        self._watch_deadline(record)
        await self._fill()
        return record

    async def cancel(self, record: Record) -> bool:
        """Cancel a request; False where it has ended. One that renders goes on, as the models ignore it."""
        if record.status == "COMPLETED":
            return False
        if record.status == "IN_QUEUE":
            record.cancelled = True
            await self._fail(record, 499, "client_cancelled", "Request was cancelled")
        return True

    async def wait_for_change(self, record: Record, seen: str, timeout_s: float) -> None:
        """Return when the record's status is no longer `seen`, or after `timeout_s` seconds."""
        async with self._changed:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait_for(lambda: record.status != seen)
            except TimeoutError:
                return

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _watch_deadline(self, record: Record) -> None:
        if record.start_by is not None:
            self._spawn(self._expire(record, record.start_by))

    async def _expire(self, record: Record, start_by: float) -> None:
        await asyncio.sleep(max(0.0, start_by - self._clock()))
        if record.status == "IN_QUEUE":
            record.headers = {"X-Fal-Request-Timeout-Type": "user"}
            await self._fail(record, 504, "request_timeout", "Request did not start in time")

    async def _fill(self) -> None:
        """Start the next in line while slots are free."""
        free = self._slots - len(self.rendering)
        for record in self.waiting[: max(0, free)]:
            record.started_at = self._clock()
            self._apply_fault(record)
            self._state.save(record)
            self._spawn(self._render(record))
        await self._notify()

    def _apply_fault(self, record: Record) -> None:
        fault = self._render_fault(str(record.arguments.get("prompt", "")))
        if fault is None:
            return
        if fault.kind == "overbill":
            record.overbill = str(fault.factor)
        elif fault.kind == "units":
            record.units_header = fault.text
        elif fault.kind == "swapped_size":
            record.is_swapped = True
        else:
            record.failure = {
                "status_code": fault.status,
                "error_type": fault.error_type,
                "message": fault.message,
            }

    async def _render(self, record: Record) -> None:
        try:
            await self._render_to_end(record)
        except BadInput as refusal:
            found = record.arguments.get(str(refusal.loc[0]))
            await self._fail(record, 422, refusal.type, str(refusal), body=refusal.body(found))
        except Exception:
            log.exception("request %s could not be rendered", record.id)
            await self._fail(record, 500, "internal_server_error", "Internal server error")
        await self._fill()

    async def _render_to_end(self, record: Record) -> None:
        endpoint = ENDPOINTS[record.endpoint]
        shot = replace(shot_of(endpoint, record.arguments, record.seed), seed=record.seed)
        scene = await self._renderer.prepare(shot)
        if record.is_swapped:
            scene = replace(scene, width_px=scene.height_px, height_px=scene.width_px)
        self._settle_size(record, scene)
        if record.failure is not None:
            await self._wait_until(record.ready_at)
            failure = record.failure
            await self._fail(record, failure["status_code"], failure["error_type"], failure["message"])
            return
        rendered, _ = await asyncio.gather(self._renderer.render(scene), self._wait_until(record.ready_at))
        await self._finish(record, endpoint, rendered)

    def _settle_size(self, record: Record, scene: Scene) -> None:
        record.width_px, record.height_px = scene.width_px, scene.height_px
        noise = random.Random(f"{self._noise_seed}:{record.number}").random()  # noqa: S311 - spread of times
        needed_s = render_time_s(record.width_px, record.height_px, record.frames, noise) / self.speed
        record.ready_at = (record.started_at or self._clock()) + needed_s
        self._state.save(record)

    async def _wait_until(self, moment: float | None) -> None:
        await asyncio.sleep(max(0.0, (moment or 0.0) - self._clock()))

    async def _finish(self, record: Record, endpoint: ServedEndpoint, rendered: RenderedFile) -> None:
        name = f"render/{record.id.replace('-', '')}_video.mp4"
        stored = self._state.add_file(rendered.path, name, "video/mp4", rendered.sha256)
        bill = self._prices.bill(
            endpoint.id,
            width_px=record.width_px,
            height_px=record.height_px,
            frames=record.frames,
            audio=record.audio,
            factor=record.overbill,
        )
        record.units, record.unit_price_nano = bill.units, str(bill.unit_price_nano)
        record.cost_nano = bill.cost_nano
        record.file, record.sha256 = stored.name, rendered.sha256
        record.bytes = stored.path.stat().st_size
        record.status_code = 200
        header = record.units if record.units_header is None else record.units_header
        record.headers = {"X-Fal-Billable-Units": header}
        video = {"url": f"{record.base_url}/files/{stored.name}", "content_type": "video/mp4"}
        record.result = {
            "video": {**video, "file_name": Path(stored.name).name, "file_size": record.bytes},
            "seed": record.seed,
        }
        await self._complete(record)

    async def _fail(
        self, record: Record, status_code: int, error_type: str, message: str, body: Any = None
    ) -> None:
        record.status_code = status_code
        record.error, record.error_type = message, error_type
        if error_type in REQUEST_ERRORS:
            record.result = {"detail": message, "error_type": error_type}
        else:
            record.result = body or model_error(message, error_type, ["body"])
        record.headers = {**record.headers, "X-Fal-Error-Type": error_type}
        await self._complete(record)

    async def _complete(self, record: Record) -> None:
        record.completed_at = self._clock()
        self._open.pop(record.id, None)
        self._state.save(record)
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
