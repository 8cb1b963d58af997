"""Who is told: addresses from the campaign file or the environment. They hold secrets and are never shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from callsheet.settings import Secret
from manifests.addresses import REFERENCE, is_reference, is_webhook


@dataclass(frozen=True, slots=True)
class Target:
    """One address. `name` is what messages call it: its kind, and where it comes from."""

    name: str
    url: Secret


@dataclass(frozen=True, slots=True)
class Targets:
    """Everybody who is told. `missing` says in words what is configured and cannot be used."""

    apprise: tuple[Target, ...] = ()
    webhook: Target | None = None
    webhook_secret: Secret | None = None
    missing: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.apprise or self.webhook)


def targets_of(
    urls: Iterable[str], webhook: str, webhook_secret: Secret | None, environ: Mapping[str, str]
) -> Targets:
    """Return the targets of these addresses, with `env:NAME` replaced by what the environment holds."""
    missing: list[str] = []
    apprise = [each for url in urls if (each := _resolved(url, environ, missing)) is not None]
    hook = _resolved(webhook, environ, missing) if webhook else None
    if hook is not None and not is_webhook(hook.url.reveal()):
        missing.append("the webhook is no https:// address")
        hook = None
    if hook is not None and webhook_secret is None:
        missing.append("the webhook needs CALLSHEET_WEBHOOK_SECRET, with which its messages are signed")
        hook = None
    return Targets(tuple(apprise), hook, webhook_secret, tuple(missing))


def _resolved(url: str, environ: Mapping[str, str], missing: list[str]) -> Target | None:
    if not is_reference(url):
        return Target(_kind_of(url), Secret(url))
    value = environ.get(url.removeprefix(REFERENCE), "").strip()
    if not value:
        missing.append(f"{url} names an environment variable that is not set here")
        return None
    return Target(f"{_kind_of(value)} ({url})", Secret(value))


def _kind_of(address: str) -> str:
    """Return what comes before `://`. Anything else may be a secret that was set without it."""
    kind, found, _ = address.partition("://")
    return kind[:30] if found else "no address"
