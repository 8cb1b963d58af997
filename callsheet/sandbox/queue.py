"""The queue: slots, order, render times and ends. One event loop; only the renderer has threads."""

from __future__ import annotations

import asyncio
import logging
import random
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from callsheet.sandbox import webhooks
from callsheet.sandbox.config import SandboxConfig, media_base
from callsheet.sandbox.faults import FaultBook
from callsheet.sandbox.file_store import FileStore, Lifecycle
from callsheet.sandbox.list_prices import PriceList
from callsheet.sandbox.pixels import render_time_s
from callsheet.sandbox.renderer import RenderedFile, VideoRenderer
from callsheet.sandbox.scene import Scene
from callsheet.sandbox.served_endpoints import (
    BadInput,
    ClipOrder,
    ServedEndpoint,
    model_error,
    shot_of,
    validation_body,
)
from callsheet.sandbox.store import Record, Store, now

log = logging.getLogger("callsheet.sandbox")

REQUEST_ERRORS = frozenset({"request_timeout", "client_cancelled"})
"""Errors of fal's own that end a request; their body is `detail` as text, a model's is a list."""

DRAFT_KEPT_S = 7 * 86_400.0


class NoSlot(Exception):
    """Every slot is taken, and a direct call does not wait."""


class RenderQueue:
    """Accepts, starts in order while fewer than `slots` render, finishes. All methods run in one loop.

    `records` are the requests ever accepted, by id, in order of acceptance.
    """

    def __init__(
        self,
        config: SandboxConfig,
        state: Store,
        files: FileStore,
        renderer: VideoRenderer,
        prices: PriceList,
        signer: webhooks.Signer,
        faults: FaultBook,
        endpoints: Mapping[str, ServedEndpoint],
    ) -> None:
        self._slots, self.speed = config.slots, config.speed
        self._state, self._files = state, files
        self._renderer, self._endpoints = renderer, endpoints
        self._prices, self._signer, self._faults = prices, signer, faults
        self.records = {record.id: record for record in state.records()}
        self._rendering: dict[str, Record] = {}
        # Places in the order they will start: of all endpoints, and of each.
        self._line: list[tuple[bool, int, str]] = []
        self._lines: dict[str, list[tuple[bool, int, str]]] = defaultdict(list)
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    @property
    def waiting(self) -> int:
        """How many requests have no slot yet."""
        return len(self._line)

    @property
    def rendering(self) -> int:
        """How many requests hold a slot."""
        return len(self._rendering)

    @property
    def is_busy(self) -> bool:
        """Whether anything waits or renders."""
        return bool(self._line or self._rendering)

    def find(self, app: str, request_id: str) -> Record | None:
        """Find a request by owner and app (of the listed id or its alias) and its own id."""
        record = self.records.get(request_id)
        return record if record and app in self._endpoints[record.endpoint].apps else None

    def length(self, endpoint_id: str) -> int:
        """How many requests wait for an endpoint."""
        return len(self._lines[endpoint_id])

    def position(self, record: Record) -> int:
        """How many requests for the same endpoint are ahead of one that waits."""
        return bisect_left(self._lines[record.endpoint], record.place)

    async def resume(self) -> None:
        """Continue what an earlier process left open."""
        for record in self.records.values():
            if record.status == "IN_QUEUE":
                self._wait(record)
            elif record.status == "IN_PROGRESS":
                self._rendering[record.id] = record
                self._spawn(self._render(record))
            elif record.webhook_left:
                self._spawn(self._deliver(record))
        await self._fill()

    async def stop(self) -> None:
        """Stop every task; the records stay as they are for the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def submit(self, record: Record) -> None:
        """Accept a request; its arguments are checked when it starts. Raises NoSlot for a direct call."""
        has_slot = len(self._rendering) < self._slots
        if record.direct and not has_slot:
            raise NoSlot
        record.number = len(self.records) + 1
        self.records[record.id] = record
        if has_slot and (record.direct or not self._line):
            await self._start(record)
        else:
            self._wait(record)
            self._state.save(record)
            await self._fill()

    async def cancel(self, record: Record) -> bool:
        """Cancel a request; False where it has ended. One that renders goes on, as the models ignore it."""
        if record.status == "COMPLETED":
            return False
        if record.status == "IN_QUEUE":
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
        record.deleted_at, record.arguments, record.result = now(), {}, None
        self._state.save(record)
        return links

    def _wait(self, record: Record) -> None:
        insort(self._line, record.place)
        insort(self._lines[record.endpoint], record.place)
        if record.start_by is not None:
            self._spawn(self._expire(record, record.start_by))

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

    async def _expire(self, record: Record, start_by: float) -> None:
        await asyncio.sleep(max(0.0, start_by - now()))
        if record.status == "IN_QUEUE":
            record.headers = {"X-Fal-Request-Timeout-Type": "user"}
            await self._fail(record, 504, "request_timeout", "Request did not start in time")

    async def _fill(self) -> None:
        """Start the next in line while slots are free."""
        while self._line and len(self._rendering) < self._slots:
            await self._start(self.records[self._line[0][2]])

    async def _start(self, record: Record) -> None:
        self._leave(record)
        self._rendering[record.id] = record
        record.started_at = now()
        if not record.fault and (struck := self._faults.on_render(str(record.arguments.get("prompt", "")))):
            record.fault = struck.model_dump()
        self._state.save(record)
        self._spawn(self._render(record))
        await self._notify()

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
        order, fault = self._order(record), record.fault
        scene = await self._renderer.prepare(order)
        if fault.get("kind") == "swapped_size":
            scene = replace(scene, width_px=scene.height_px, height_px=scene.width_px)
        record.seed, record.width_px, record.height_px = order.seed, scene.width_px, scene.height_px
        noise = random.Random(f"0:{record.number}").random()  # noqa: S311 - spread of times
        needed_s = render_time_s(scene.width_px, scene.height_px, order.frames, noise) / self.speed
        record.ready_at = (record.started_at or now()) + needed_s
        self._state.save(record)
        waiting = asyncio.sleep(max(0.0, record.ready_at - now()))
        if fault.get("kind") == "render_failed":
            await waiting
            await self._fail(record, fault["status"], fault["error_type"], fault["message"])
            return
        rendered, _ = await asyncio.gather(self._renderer.render(scene), waiting)
        await self._finish(record, scene, rendered)

    def _order(self, record: Record) -> ClipOrder:
        """Check the arguments. Raises ValidationError and BadInput."""
        endpoint = self._endpoints[record.endpoint]
        if endpoint.kind != "draft":
            return shot_of(endpoint, record.arguments, record.seed)
        given = endpoint.schema.model_validate(record.arguments).model_dump()
        text = given["draft_id"].removeprefix("draft-")
        draft = self.records.get("-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])))
        if (
            draft is None
            or (draft.status_code, draft.arguments.get("draft"), draft.key_id) != (200, True, record.key_id)
            or now() > (draft.completed_at or 0.0) + DRAFT_KEPT_S
        ):
            raise BadInput("Draft not found or expired", type_="value_error", loc=("draft_id",))
        order = shot_of(self._endpoints[draft.endpoint], draft.arguments, draft.seed)
        return order.completed(endpoint, given["codec"])

    async def _finish(self, record: Record, scene: Scene, rendered: RenderedFile) -> None:
        order, fault = scene.order, record.fault
        name = f"render/{record.id.replace('-', '')}_video.mp4"
        life = Lifecycle.model_validate(record.lifecycle) if record.lifecycle is not None else None
        path = self._files.add_file(rendered.path, name, "video/mp4", rendered.sha256, life)
        bill = self._prices.bill(
            record.endpoint,
            width_px=scene.width_px,
            height_px=scene.height_px,
            frames=order.frames,
            audio=order.audio,
            resolution=order.resolution,
            video_frames=scene.video_frames,
            factor=str(fault["factor"]) if fault.get("kind") == "overbill" else "1",
        )
        record.units, record.unit_price_nano = bill.units, str(bill.unit_price_nano)
        record.cost_nano = bill.cost_nano
        record.file, record.sha256, record.bytes = name, rendered.sha256, path.stat().st_size
        record.status_code = 200
        shown = fault["text"] if fault.get("kind") == "units" else record.units
        record.headers = {"X-Fal-Billable-Units": shown}
        video = {"url": f"{media_base(record.base_url)}/files/{name}", "content_type": "video/mp4"}
        record.result = {
            "video": {**video, "file_name": path.name, "file_size": record.bytes},
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
        record.completed_at = now()
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
