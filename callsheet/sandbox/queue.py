"""The queue: slots, order, render times and ends. One event loop; only the renderer has threads."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from callsheet.sandbox import webhooks
from callsheet.sandbox.config import media_base
from callsheet.sandbox.faults import Fault
from callsheet.sandbox.file_store import FileStore, Lifecycle
from callsheet.sandbox.list_prices import PriceList
from callsheet.sandbox.pixels import render_time_s
from callsheet.sandbox.renderer import RenderedFile, VideoRenderer
from callsheet.sandbox.scene import Scene
from callsheet.sandbox.served_endpoints import (
    ENDPOINTS,
    BadInput,
    ClipOrder,
    ServedEndpoint,
    model_error,
    shot_of,
    validation_body,
)
from callsheet.sandbox.store import NORMAL, Record, Store

log = logging.getLogger("callsheet.sandbox")

REQUEST_ERRORS = frozenset({"request_timeout", "client_cancelled"})
"""Errors of fal's own that end a request; their body is `detail` as text, a model's is a list."""

DRAFT_KEPT_S = 7 * 86_400.0


class NoSlot(Exception):
    """Every slot is taken, and a direct call does not wait."""


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """What the headers and the query of a submit ask for. `start_timeout_s` bounds the wait for a slot.

    `direct` calls take a slot at once or fail.
    """

    base_url: str
    app: str = ""
    priority: str = NORMAL
    start_timeout_s: float | None = None
    keep_payloads: bool = True
    webhook: str = ""
    lifecycle: dict[str, Any] | None = None
    key_id: str = ""
    fault: str = ""
    direct: bool = False


class RenderQueue:
    """Accepts, starts in order while fewer than `slots` render, finishes. All methods run in one loop."""

    def __init__(
        self,
        state: Store,
        files: FileStore,
        renderer: VideoRenderer,
        prices: PriceList,
        signer: webhooks.Signer,
        *,
        slots: int,
        speed: float,
        clock: Callable[[], float],
        endpoints: Mapping[str, ServedEndpoint] = ENDPOINTS,
        noise_seed: int = 0,
        render_fault: Callable[[str], Fault | None] = lambda _prompt: None,
    ) -> None:
        self._state, self._files = state, files
        self._renderer, self._endpoints = renderer, endpoints
        self._slots = slots
        self.speed = speed
        # Microseconds, as ISO times carry, so that a time reads back as the same number.
        self._clock: Callable[[], float] = lambda: round(clock(), 6)
        self._noise_seed = noise_seed
        self._render_fault = render_fault
        self._prices, self._signer = prices, signer
        self._records = {record.id: record for record in state.records()}
        self._rendering: dict[str, Record] = {}
        # Places in the order they will start: of all endpoints, and of each.
        self._line: list[tuple[bool, int, str]] = []
        self._lines: dict[str, list[tuple[bool, int, str]]] = defaultdict(list)
        for record in self._records.values():
            if record.status == "IN_QUEUE":
                self._wait(record)
            elif record.status == "IN_PROGRESS":
                self._rendering[record.id] = record
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    @property
    def records(self) -> list[Record]:
        """Every request ever accepted, in order of acceptance."""
        return list(self._records.values())

    @property
    def waiting(self) -> list[Record]:
        """Requests without a slot yet, in the order they will start."""
        return [self._records[request_id] for _, _, request_id in self._line]

    @property
    def rendering(self) -> list[Record]:
        """Requests that hold a slot."""
        return list(self._rendering.values())

    @property
    def is_busy(self) -> bool:
        """Whether anything waits or renders."""
        return bool(self._line or self._rendering)

    def find(self, app: str, request_id: str) -> Record | None:
        """Find a request by owner and app (of the listed id or its alias) and its own id."""
        record = self._records.get(request_id)
        return record if record and app in self._endpoints[record.endpoint].apps else None

    def by_id(self, request_id: str) -> Record | None:
        """Find a request by its id."""
        return self._records.get(request_id)

    def length(self, endpoint_id: str) -> int:
        """How many requests wait for an endpoint."""
        return len(self._lines[endpoint_id])

    def position(self, record: Record) -> int:
        """How many requests for the same endpoint are ahead of one that waits."""
        return bisect_left(self._lines[record.endpoint], record.place)

    async def resume(self) -> None:
        """Continue what an earlier process left open."""
        for record in self.rendering:
            self._spawn(self._render(record))
        for record in self.waiting:
            self._watch_deadline(record)
        for record in self._records.values():
            if record.completed_at is not None and record.webhook_left:
                self._spawn(self._deliver(record))
        await self._fill()

    async def stop(self) -> None:
        """Stop every task; the records stay as they are for the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def submit(
        self, endpoint: ServedEndpoint, arguments: Mapping[str, Any], options: SubmitOptions
    ) -> Record:
        """Accept a request; its arguments are checked when it starts. Raises NoSlot for a direct call."""
        has_slot = len(self._rendering) < self._slots
        if options.direct and not has_slot:
            raise NoSlot
        now = self._clock()
        record = Record(
            id=str(uuid.uuid4()),
            number=len(self._records) + 1,
            endpoint=endpoint.id,
            arguments=dict(arguments),
            base_url=options.base_url,
            submitted_at=now,
            seed=random.randrange(2**31),  # noqa: S311 - a seed for pictures, as the model chooses one
            priority=options.priority,
            keep_payloads=options.keep_payloads,
            start_by=None if options.start_timeout_s is None else now + options.start_timeout_s,
            app=options.app,
            key_id=options.key_id,
            direct=options.direct,
            lifecycle=options.lifecycle,
            fault=options.fault,
            webhook=options.webhook,
            webhook_left=webhooks.TRIES if options.webhook else 0,
        )
        self._records[record.id] = record
        if has_slot and (options.direct or not self._line):
            await self._start(record)
        else:
            self._wait(record)
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

    async def wait_for_change(self, record: Record, seen: str, timeout_s: float | None) -> None:
        """Return when the record's status is no longer `seen`, or after `timeout_s` seconds."""
        async with self._changed:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait_for(lambda: record.status != seen)
            except TimeoutError:
                return

    def delete_payloads(self, record: Record) -> list[str]:
        """Forget a request's arguments, result and output file; return the links that were deleted."""
        links = [record.result["video"]["url"]] if record.file and self._files.delete(record.file) else []
        record.deleted_at, record.arguments, record.result = self._clock(), {}, None
        self._state.save(record)
        return links

    def _wait(self, record: Record) -> None:
        insort(self._line, record.place)
        insort(self._lines[record.endpoint], record.place)

    def _leave(self, record: Record) -> None:
        """Take a request out of the line and out of its slot."""
        self._rendering.pop(record.id, None)
        for line in (self._line, self._lines[record.endpoint]):
            index = bisect_left(line, record.place)
            if line[index : index + 1] == [record.place]:
                del line[index]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
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
        while self._line and len(self._rendering) < self._slots:
            await self._start(self._records[self._line[0][2]])

    async def _start(self, record: Record) -> None:
        self._leave(record)
        self._rendering[record.id] = record
        record.started_at = self._clock()
        self._apply_fault(record)
        self._state.save(record)
        self._spawn(self._render(record))
        await self._notify()

    def _apply_fault(self, record: Record) -> None:
        prompt = str(record.arguments.get("prompt", ""))
        fault = Fault.from_text(record.fault) if record.fault else self._render_fault(prompt)
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
        except ValidationError as refusal:
            body = validation_body(refusal)
            record.headers = {"x-fal-billable-units": "0"}
            first = body["detail"][0]
            await self._fail(record, 422, first["type"], first["msg"], body=body)
        except BadInput as refusal:
            found = record.arguments.get(str(refusal.loc[0]))
            await self._fail(record, 422, refusal.type, str(refusal), body=refusal.body(found))
        except Exception:
            log.exception("request %s could not be rendered", record.id)
            await self._fail(record, 500, "internal_server_error", "Internal server error")
        await self._fill()

    async def _render_to_end(self, record: Record) -> None:
        order = self._order(record)
        record.seed, record.frames, record.audio = order.seed, order.frames, order.audio
        record.resolution = order.resolution
        scene = await self._renderer.prepare(order)
        if record.is_swapped:
            scene = replace(scene, width_px=scene.height_px, height_px=scene.width_px)
        self._settle_size(record, scene)
        if record.failure is not None:
            await self._wait_until(record.ready_at)
            failure = record.failure
            await self._fail(record, failure["status_code"], failure["error_type"], failure["message"])
            return
        rendered, _ = await asyncio.gather(self._renderer.render(scene), self._wait_until(record.ready_at))
        await self._finish(record, order, rendered)

    def _order(self, record: Record) -> ClipOrder:
        """Check the arguments. Raises ValidationError and BadInput."""
        endpoint = self._endpoints[record.endpoint]
        if endpoint.kind != "draft":
            return shot_of(endpoint, record.arguments, record.seed)
        given = endpoint.schema.model_validate(record.arguments).model_dump()
        text = given["draft_id"].removeprefix("draft-")
        draft = self._records.get("-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])))
        if (
            draft is None
            or (draft.status_code, draft.arguments.get("draft"), draft.key_id) != (200, True, record.key_id)
            or self._clock() > (draft.completed_at or 0.0) + DRAFT_KEPT_S
        ):
            raise BadInput("Draft not found or expired", type_="value_error", loc=("draft_id",))
        order = shot_of(self._endpoints[draft.endpoint], draft.arguments, draft.seed)
        return order.completed(endpoint, given["codec"])

    def _settle_size(self, record: Record, scene: Scene) -> None:
        record.width_px, record.height_px = scene.width_px, scene.height_px
        record.video_frames = scene.video_frames
        noise = random.Random(f"{self._noise_seed}:{record.number}").random()  # noqa: S311 - spread of times
        needed_s = render_time_s(record.width_px, record.height_px, record.frames, noise) / self.speed
        record.ready_at = (record.started_at or self._clock()) + needed_s
        self._state.save(record)

    async def _wait_until(self, moment: float | None) -> None:
        await asyncio.sleep(max(0.0, (moment or 0.0) - self._clock()))

    async def _finish(self, record: Record, order: ClipOrder, rendered: RenderedFile) -> None:
        name = f"render/{record.id.replace('-', '')}_video.mp4"
        life = Lifecycle.model_validate(record.lifecycle) if record.lifecycle is not None else None
        stored = self._files.add_file(rendered.path, name, "video/mp4", rendered.sha256, life)
        bill = self._prices.bill(
            record.endpoint,
            width_px=record.width_px,
            height_px=record.height_px,
            frames=record.frames,
            audio=record.audio,
            resolution=record.resolution,
            video_frames=record.video_frames,
            factor=record.overbill,
        )
        record.units, record.unit_price_nano = bill.units, str(bill.unit_price_nano)
        record.cost_nano = bill.cost_nano
        record.file, record.sha256 = stored.name, rendered.sha256
        record.bytes = stored.path.stat().st_size
        record.status_code = 200
        header = record.units if record.units_header is None else record.units_header
        record.headers = {"X-Fal-Billable-Units": header}
        video = {"url": f"{media_base(record.base_url)}/files/{stored.name}", "content_type": "video/mp4"}
        record.result = {
            "video": {**video, "file_name": Path(stored.name).name, "file_size": record.bytes},
            "seed": record.seed,
        }
        if order.endpoint.version == "2.5":
            record.result["draft_id"] = record.draft_id if order.draft else None
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
        self._leave(record)
        self._state.save(record)
        if record.webhook_left:
            self._spawn(self._deliver(record))
        await self._notify()

    async def _deliver(self, record: Record) -> None:
        await webhooks.deliver(record, self._signer, lambda: self.speed, self._state.save)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
