"""What can be ordered and how files are kept, by fal's platform API under /v1; each model's OpenAPI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from callsheet.sandbox.file_store import Lifecycle
from callsheet.sandbox.platform_calls import Invalid, endpoint_ids, guarded, listed, one, page, usd
from callsheet.sandbox.routes_files import signed_url
from callsheet.sandbox.served_endpoints import KIND_NAMES, ServedEndpoint
from callsheet.sandbox.services import Services, json_of, services_of
from callsheet.sandbox.store import now

AS_OF = "2026-10-01T00:00:00Z"
"""When fal's schemas and prices were captured."""

Quantity = Annotated[float, Field(ge=1e-6, le=1e12, strict=True)]


class _Calls(BaseModel):
    call_quantity: int = Field(ge=1, le=10**12, strict=True)


class _Units(BaseModel):
    unit_quantity: Quantity


class _ByHistory(BaseModel):
    estimate_type: Literal["historical_api_price"]
    endpoints: dict[str, _Calls]


class _ByUnits(BaseModel):
    estimate_type: Literal["unit_price"]
    endpoints: dict[str, _Units]


class _Expiry(BaseModel, extra="forbid"):
    expiration_seconds: int = Field(ge=1, le=604_800, strict=True)


_ESTIMATE: TypeAdapter[_ByHistory | _ByUnits] = TypeAdapter(
    Annotated[_ByHistory | _ByUnits, Field(discriminator="estimate_type")]
)


def routes() -> list[Route]:
    """The routes."""
    return [
        Route("/.well-known/jwks.json", _jwks, methods=["GET"]),
        Route("/api/openapi/queue/openapi.json", _openapi, methods=["GET"]),
        Route("/v1/models", guarded(_models, needs_key=False), methods=["GET"]),
        Route("/v1/models/pricing", guarded(_pricing), methods=["GET"]),
        Route("/v1/models/pricing/estimate", guarded(_estimate), methods=["POST"]),
        Route("/v1/storage/settings", guarded(_settings), methods=["GET"]),
        Route("/v1/storage/settings", guarded(_change_settings, admin=True), methods=["PUT"]),
        Route("/v1/storage/files/sign", guarded(_sign), methods=["POST"]),
        Route("/v1/meta", guarded(_meta, needs_key=False), methods=["GET"]),
    ]


async def _jwks(request: Request) -> Response:
    return JSONResponse(services_of(request).signer.jwks())


async def _openapi(request: Request) -> Response:
    endpoint = services_of(request).served.by_id.get(request.query_params.get("endpoint_id", ""))
    return JSONResponse(openapi_of(endpoint)) if endpoint else JSONResponse({"detail": "Not Found"}, 404)


def _known(services: Services, ids: Sequence[str]) -> list[ServedEndpoint]:
    for endpoint_id in ids:
        if endpoint_id not in services.served.by_id:
            raise LookupError(f"Endpoint {endpoint_id} not found")
    return [services.served.by_id[endpoint_id] for endpoint_id in ids]


async def _models(request: Request, services: Services) -> dict[str, Any]:
    found = _known(services, endpoint_ids(request, required=False)) or list(services.served.by_id.values())
    models = [_model(endpoint) for endpoint in found]
    words = (one(request, "q") or "").lower().split()
    category, status = one(request, "category"), one(request, "status", ("active", "deprecated"))
    models = [
        model
        for model in models
        if (category in (None, model["metadata"]["category"]))
        and (status in (None, model["metadata"]["status"]))
        and all(word in str(model).lower() for word in words)
    ]
    chosen, more = page(request, models, default=50, most=100)
    for model in chosen:
        if "openapi-3.0" in listed(request, "expand"):
            model["openapi"] = openapi_of(services.served.by_id[model["endpoint_id"]])
        if "enterprise_status" in listed(request, "expand"):
            model["enterprise_status"] = "ready"
    return {"models": chosen, **more}


def _model(endpoint: ServedEndpoint) -> dict[str, Any]:
    is_lite = "/lite/" in endpoint.id
    return {
        "endpoint_id": endpoint.id,
        "metadata": {
            "display_name": f"{endpoint.short_name} {KIND_NAMES[endpoint.kind]}",
            "category": "video-edit" if endpoint.kind == "draft" else f"{endpoint.kind}-to-video",
            "description": f"ByteDance {endpoint.short_name}, as the sandbox serves it",
            "status": "deprecated" if is_lite else "active",
            "tags": ["video"],
            "updated_at": AS_OF,
            "is_favorited": None,
            "thumbnail_url": "",
            "model_url": f"https://fal.run/{endpoint.id}",
            "license_type": "commercial",
            "date": AS_OF,
            "group": {"key": f"seedance-{endpoint.version}", "label": endpoint.short_name},
            "highlighted": False,
            "kind": "inference",
            "pinned": False,
        },
    }


def openapi_of(endpoint: ServedEndpoint) -> dict[str, Any]:
    """Return an endpoint's OpenAPI document in the form of fal's own."""
    request = _as_30(endpoint.schema.model_json_schema(ref_template="#/components/schemas/{model}"))
    definitions = request.pop("$defs", {})
    output = {
        "type": "object",
        "required": ["video", "seed"],
        "properties": {"video": {"$ref": "#/components/schemas/File"}, "seed": {"type": "integer"}}
        | ({"draft_id": {"type": "string", "nullable": True}} if endpoint.version == "2.5" else {}),
    }
    texts = {name: {"type": "string"} for name in ("url", "content_type", "file_name")}
    file = {"type": "object", "required": ["url"], "properties": texts | {"file_size": {"type": "integer"}}}
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Input"}}}}
    result = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Output"}}}}
    ticket = {"description": "Accepted", "content": {"application/json": {"schema": {"type": "object"}}}}
    wanted = {"name": "request_id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "openapi": "3.0.4",
        "info": {
            "title": f"Queue OpenAPI for {endpoint.id}",
            "version": "1.0.0",
            "x-fal-metadata": {"endpointId": endpoint.alias or endpoint.id},
        },
        "servers": [{"url": "https://queue.fal.run"}],
        "components": {
            "schemas": {"Input": request, "Output": output, "File": file, **definitions},
            "securitySchemes": {"apiKeyAuth": {"type": "apiKey", "in": "header", "name": "Authorization"}},
        },
        "security": [{"apiKeyAuth": []}],
        "paths": {
            f"/{endpoint.alias or endpoint.id}": {
                "post": {"requestBody": {"required": True, **body}, "responses": {"200": ticket}}
            },
            f"/{'/'.join((endpoint.alias or endpoint.id).split('/')[:2])}/requests/{{request_id}}": {
                "get": {"parameters": [wanted], "responses": {"200": {"description": "Result", **result}}}
            },
        },
    }


def _as_30(schema: Any) -> Any:
    """Turn pydantic's `anyOf: [..., null]` into OpenAPI 3.0's `nullable`, and `const` into an enumeration."""
    if isinstance(schema, list):
        return [_as_30(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _as_30(value) for name, value in schema.items()}
    choices = made.get("anyOf", [])
    if {"type": "null"} in choices:
        (choice,) = (each for each in choices if each != {"type": "null"})
        made = {name: value for name, value in made.items() if name != "anyOf"} | choice | {"nullable": True}
    return made | {"enum": [made.pop("const")]} if "const" in made else made


async def _pricing(request: Request, services: Services) -> dict[str, Any]:
    prices = [
        {
            "endpoint_id": endpoint.id,
            "unit_price": usd(services.prices.unit_price_nano(endpoint.id)),
            "unit": services.prices.unit(endpoint.id),
            "currency": "USD",
        }
        for endpoint in _known(services, endpoint_ids(request, required=True))
    ]
    return {"prices": prices, "next_cursor": None, "has_more": False}


async def _estimate(request: Request, services: Services) -> dict[str, Any]:
    """Multiply: by the mean of what each endpoint's calls cost here, or by its unit price."""
    wanted, total = _ESTIMATE.validate_python(await json_of(request)), 0.0
    if not wanted.endpoints:
        raise Invalid("endpoints: one at least is needed")
    for endpoint in _known(services, list(wanted.endpoints)):
        if isinstance(wanted, _ByUnits):
            price = usd(services.prices.unit_price_nano(endpoint.id))
            total += price * wanted.endpoints[endpoint.id].unit_quantity
        else:
            costs = [
                record.cost_nano
                for record in services.queue.records.values()
                if record.endpoint == endpoint.id
            ]
            bill = services.prices.bill(endpoint.id, width_px=1280, height_px=720, frames=121)
            mean = sum(costs) / len(costs) if any(costs) else bill.cost_nano
            total += mean / 1e9 * wanted.endpoints[endpoint.id].call_quantity
    return {"estimate_type": wanted.estimate_type, "total_cost": total, "currency": "USD"}


async def _settings(_request: Request, services: Services) -> dict[str, Any]:
    return services.files.account.model_dump()


async def _change_settings(request: Request, services: Services) -> dict[str, Any]:
    """Change the settings that are named; they hold for files stored from then on."""
    given = Lifecycle.model_validate(await json_of(request))
    services.files.account = services.files.account.model_copy(
        update={name: getattr(given, name) for name in given.model_fields_set}
    )
    return services.files.account.model_dump()


async def _sign(request: Request, services: Services) -> dict[str, Any]:
    url = one(request, "url") or ""
    parts = urlsplit(url)
    if not parts.scheme or not parts.netloc:
        raise Invalid(f"url: {url!r} is no address")
    expiry = _Expiry.model_validate(await json_of(request))
    name = parts.path.removeprefix("/files/")
    if not services.config.owns(parts.hostname or "") or services.files.file(name) is None:
        raise LookupError(f"File {url} not found")
    expires_at = int(now()) + expiry.expiration_seconds
    return {"signed_url": signed_url(services, url, name, expires_at)}


async def _meta(_request: Request, _services: Services) -> dict[str, Any]:
    return {"webhook_ip_ranges": ["127.0.0.1/32", "::1/128"]}
