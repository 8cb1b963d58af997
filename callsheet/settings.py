"""One frozen object with every setting, made at the edge from the environment and passed down.

Order of precedence: flag, environment, campaign file, default. Flags and campaign files are applied by the
command line with `dataclasses.replace`; nothing below the edge reads the environment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

import platformdirs

from callsheet.errors import UsageError

DEFAULT_CONCURRENCY = 10
"""fal's own page for Seedance says "up to 10 simultaneous renders"."""

DEFAULT_START_TIMEOUT_S = 3600
"""How long an accepted job may wait before it starts, in seconds."""

DEFAULT_MANIFEST_MAX_MB = 256

SEEDANCE_OWNER_HOSTS = ("fal.media",)
"""Where results and uploads live: this host and every name under it."""


class Secret:
    """A text that is never shown, such as an address with a token in it; "" where there is none.

    No dataclass: `dataclasses.asdict` of what holds it would show the text.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self._value)

    def __str__(self) -> str:
        return "[secret]"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def reveal(self) -> str:
        """Return the text itself, for the one place that needs it."""
        return self._value


class ApiKey(Secret):
    """The key for fal, which is revealed to be written into an Authorization header and nowhere else."""

    __slots__ = ()

    def __str__(self) -> str:
        return "[key]"

    @property
    def account(self) -> str:
        """A hash of the key's id, the part before the colon (of the whole key, where it has none)."""
        return hashlib.sha256(self._value.partition(":")[0].encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says. URLs carry no trailing slash; times are in seconds.

    `start_timeout_s` bounds how long an accepted job may wait before it starts (sent to fal as
    X-Fal-Request-Timeout), `run_timeout_s` how long it may then render, `history_lag_s` how late fal's
    history may show it: together they bound how long an unknown submission may still turn up.
    `admin_key` may read billing events and the balance; `reconcile`, `plan` and a canary use it.
    `allow_private_hosts` lets manifests be fetched from addresses inside the network. `manifest_max_mb` is
    the size in MiB of the largest CSV or JSONL manifest: it is read into memory whole. `breaker` is how many
    equal failures of paid clips stop buying a price group; 0 never stops. `image_check` lets `plan` and `run`
    ask the servers of image addresses whether another picture is there now. `notify_urls` are Apprise
    addresses with white space between them, `notify_webhook` is an address; `webhook_secret` signs what is
    sent there. `webhook_url` is where fal is asked to report, and `receive_secret` signs its addresses.
    `traces` says that spans are exported.
    """

    data_dir: Path
    key: ApiKey | None = None
    admin_key: ApiKey | None = None
    queue_url: str = "https://queue.fal.run"
    rest_url: str = "https://rest.fal.ai"
    cdn_url: str = "https://v3.fal.media"
    platform_url: str = "https://api.fal.ai/v1"
    ledger_url: Secret | str = field(default="", repr=False)  # it may hold a password
    concurrency: int = DEFAULT_CONCURRENCY
    out: str = "runs"
    start_timeout_s: int = DEFAULT_START_TIMEOUT_S
    run_timeout_s: int = 1800
    history_lag_s: int = 600
    allow_private_hosts: bool = False
    manifest_max_mb: int = DEFAULT_MANIFEST_MAX_MB
    breaker: int = 3
    image_check: bool = True
    notify_urls: Secret = field(default_factory=Secret)
    notify_webhook: Secret = field(default_factory=Secret)
    webhook_secret: Secret | None = None
    webhook_url: str = ""
    receive_secret: Secret | None = None
    traces: bool = False

    @property
    def account(self) -> str:
        """A hash that tells one fal account from another, "" without a key. It is no secret."""
        return self.key.account if self.key else ""

    @property
    def ledger(self) -> str:
        """The ledger's database URL; by default SQLite in the user's data folder."""
        url = self.ledger_url.reveal() if isinstance(self.ledger_url, Secret) else self.ledger_url
        return url or sqlite_url(self.data_dir / "ledger.sqlite")


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, with `%` and `?` escaped."""
    return "sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F")


def sqlite_path(url: str) -> str:
    """Return the path in the URL of a SQLite file. SQLAlchemy 2.1 reads its escapes in the same way."""
    return unquote(url.removeprefix("sqlite:///"))


_URLS = ("queue_url", "rest_url", "cdn_url", "platform_url", "webhook_url")
_WHOLE_NUMBERS = {
    "concurrency": (1, 1000),
    "start_timeout_s": (1, 7 * 86_400),
    "run_timeout_s": (1, 7 * 86_400),
    "history_lag_s": (0, 7 * 86_400),
    "manifest_max_mb": (1, 1 << 20),
    "breaker": (0, 1000),
}


def sandbox_ledger(settings: Settings) -> Settings:
    """Return settings whose ledger is the sandbox's, unless the environment names one."""
    if settings.ledger_url:
        return settings
    return replace(settings, ledger_url=sqlite_url(settings.data_dir / "sandbox" / "ledger.sqlite"))


def refuse_unclear(**switches: object) -> None:
    """Raise UsageError, which names the argument, for a switch that is neither True nor False.

    Python takes "false" for true, and what somebody did not want would be bought.
    """
    for name, value in switches.items():
        if value not in (True, False):
            raise UsageError(f"{name}: found {value!r}: give True or False")


def settings_from(environ: Mapping[str, str], *, sandbox: bool = False) -> Settings:
    """Read the settings, with `sandbox` those of the sandbox's ledger.

    Raises UsageError naming the variable, what it holds and what it may hold.
    """
    refuse_unclear(sandbox=sandbox)
    given: dict[str, str | int | Path | Secret | None] = {"key": _key(environ)}
    given["admin_key"] = _checked("FAL_ADMIN_KEY", environ.get("FAL_ADMIN_KEY", "").strip())
    data_dir = environ.get("CALLSHEET_DATA_DIR", "").strip()
    own_data = platformdirs.user_data_path("callsheet")
    given["data_dir"] = Path(at_home("CALLSHEET_DATA_DIR", data_dir)) if data_dir else own_data
    for name in _URLS:
        value = environ.get(f"CALLSHEET_{name.upper()}", "").strip().rstrip("/")
        if value and not value.startswith(("https://", "http://")):
            shown = value.rpartition("@")[2]  # what stands before it may be a password
            raise UsageError(f"CALLSHEET_{name.upper()} is {shown!r}; it must begin with https:// or http://")
        if value:
            given[name] = value
    for name, (low, high) in _WHOLE_NUMBERS.items():
        text = environ.get(f"CALLSHEET_{name.upper()}", "").strip()
        if text:
            given[name] = _whole_number(f"CALLSHEET_{name.upper()}", text, low, high)
    if text := environ.get("CALLSHEET_LEDGER_URL", "").strip():
        given["ledger_url"] = Secret(at_home("CALLSHEET_LEDGER_URL", text))
    if text := environ.get("CALLSHEET_OUT", "").strip():
        given["out"] = at_home("CALLSHEET_OUT", text)
    for name in ("notify_urls", "notify_webhook", "webhook_secret", "receive_secret"):
        if text := environ.get(f"CALLSHEET_{name.upper()}", "").strip():
            given[name] = Secret(text)
    given["allow_private_hosts"] = _flag(environ, "CALLSHEET_ALLOW_PRIVATE_HOSTS")
    given["traces"] = bool(environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip())
    given["image_check"] = _flag(environ, "CALLSHEET_IMAGE_CHECK", default=True)
    settings = Settings(**given)  # type: ignore[arg-type]
    return sandbox_ledger(settings) if sandbox else settings


def at_home(name: str, text: str) -> str:
    """Return a path or an address; a leading `~` is the home folder also where no shell has put it in.

    Raises UsageError, which calls it `name`, where there is no home folder.
    """
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:
        raise UsageError(f"{name} is {text!r}, but this user has no home folder for `~`") from None


def _key(environ: Mapping[str, str]) -> ApiKey | None:
    key = environ.get("FAL_KEY", "").strip()
    if not key and environ.get("FAL_KEY_ID") and environ.get("FAL_KEY_SECRET"):
        key = f"{environ['FAL_KEY_ID'].strip()}:{environ['FAL_KEY_SECRET'].strip()}"
    return _checked("FAL_KEY", key)


def _checked(name: str, key: str) -> ApiKey | None:
    if not key:
        return None
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(
            f"{name} holds characters that no key has (spaces, line breaks or non-ASCII letters)"
        )
    return ApiKey(key)


def _flag(environ: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    text = environ.get(name, "").strip().lower()
    if text not in ("", "true", "false", "1", "0"):
        raise UsageError(f"{name} is {text[:40]!r}; it must be true or false")
    return text in ("true", "1") if text else default


def _whole_number(name: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise UsageError(f"{name} is {text[:40]!r}; it must be a whole number from {low} to {high}")
    return int(text)
