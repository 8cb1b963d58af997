"""The files in deploy/: what no container engine is needed for."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from callsheet.cli.app import make_app
from callsheet.settings import settings_from

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = {path.name: list(yaml.safe_load_all(path.read_text())) for path in DEPLOY.glob("kubernetes/*")}


def checked(*command: str) -> None:
    """Run a linter and show what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    os.environ.get("CI") != "true" and (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="hadolint's package is for Linux on x86_64",
)
def test_the_dockerfile_passes_hadolint():
    """Not as root, pinned bases, no cache left behind."""
    checked(str(BIN / "hadolint"), str(DEPLOY / "Dockerfile"))


def test_the_compose_file_is_one():
    """By the Compose specification's own schema."""
    checked(
        str(BIN / "check-jsonschema"),
        "--builtin-schema",
        "vendor.compose-spec",
        str(DEPLOY / "compose.yaml"),
    )


def test_the_kubernetes_objects_are_what_their_kinds_allow():
    """Strictly: an unknown field is an error."""
    names = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    assert {*names, "kustomization.yaml"} == KUBERNETES.keys()
    checked(
        str(BIN / "kubernetes-validate"), "--strict", *(str(DEPLOY / "kubernetes" / name) for name in names)
    )


def pods():
    """Every pod template with its object's name."""
    for objects in KUBERNETES.values():
        for each in objects:
            if each["kind"] == "Deployment":
                yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def test_no_pod_runs_as_root_or_may_become_it():
    """And none can grow without a bound."""
    found = dict(pods())
    assert set(found) == {"prefect", "worker", "keeper"}
    for pod in found.values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]


def callsheet_commands():
    """What the files give to `callsheet`, which is the image's entry point."""
    for name, service in COMPOSE["services"].items():
        if "command" in service and "entrypoint" not in service:
            yield f"compose {name}", service["command"]
        if service.get("healthcheck", {}).get("test", ["", ""])[1] == "callsheet":
            yield f"compose {name} health", service["healthcheck"]["test"][2:]
    for name, pod in pods():
        (container,) = pod["containers"]
        if "args" in container:
            yield f"kubernetes {name}", container["args"]
        probe = container.get("livenessProbe", {}).get("exec", {}).get("command")
        if probe:
            yield f"kubernetes {name} health", probe[1:]
    health = re.search(r'CMD \["callsheet", (.*)\]', (DEPLOY / "Dockerfile").read_text())
    yield "image health", [part.strip('" ') for part in health[1].split(",")]


@pytest.mark.parametrize("words", [pytest.param(words, id=name) for name, words in callsheet_commands()])
def test_every_command_is_one_of_ours(words):
    """With options that it has."""
    given = [str(word) for word in words]
    command, bound, _ = make_app(given).parse_args(given, exit_on_error=False, print_error=False)
    assert callable(command)
    assert bound is not None


def test_the_addresses_for_real_renders_are_the_defaults():
    """The README's list says what an installation without any of them uses."""
    text = (DEPLOY / "README.md").read_text()
    settings = settings_from({})
    for name in ("queue", "rest", "cdn", "platform"):
        assert f"CALLSHEET_{name.upper()}_URL={getattr(settings, f'{name}_url')}\n" in text


def test_the_image_has_our_version():
    """In the manifests as in pyproject.toml."""
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    images = {pod["containers"][0]["image"] for _, pod in pods()}
    assert images == {f"callsheet:{version}"}


def test_no_file_holds_a_secret():
    """Keys come from the environment or from a secret."""
    settings = KUBERNETES["settings.yaml"][0]["data"]
    assert not [name for name in settings if re.search("KEY|SECRET|LEDGER_URL|CONNECTION", name)]
    assert "FAL_KEY: ${FAL_KEY" in (DEPLOY / "compose.yaml").read_text()
    assert "FAL_KEY" not in (DEPLOY / "Dockerfile").read_text()
