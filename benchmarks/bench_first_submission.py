"""How long from pressing Enter until fal has the first job: on an empty home, and on one that was used."""

from __future__ import annotations

import sys
import time

from measuring import Figure, Place, median_s, oracle, place, report, run_command, sandbox, succeed

SPEED = 100.0
WARM_TIMES = 3
COLD_BOUND_S = 15.0
WARM_BOUND_S = 8.0


def main() -> int:
    """Measure and print."""
    with place() as here, sandbox(here.data_dir / "sandbox", SPEED) as url:
        prefect = median_s(lambda: succeed([sys.executable, "-c", "import prefect"], here.environment()), 3)
        cold = _first_submission_s(here, url)
        warm = sorted(_first_submission_s(here, url) for _ in range(WARM_TIMES))[WARM_TIMES // 2]
    beside = f"import prefect alone: {prefect:.2f} s"
    return report(
        [
            Figure("empty home", f"{cold:.2f} s", beside, f"< {COLD_BOUND_S:g} s", cold < COLD_BOUND_S),
            Figure("used home", f"{warm:.2f} s", beside, f"< {WARM_BOUND_S:g} s", warm < WARM_BOUND_S),
        ]
    )


def _first_submission_s(here: Place, url: str) -> float:
    """Run one shot that was not made before; return the seconds until the sandbox accepted it."""
    before = len(oracle(url)["accepted"])
    manifest = here.manifest(1)
    text = manifest.read_text(encoding="utf-8").replace("paper boat", f"paper boat number {before}")
    manifest.write_text(text, encoding="utf-8")
    begun = time.time()
    succeed(run_command(manifest, here, SPEED), here.environment())
    submitted: float = oracle(url)["accepted"][before]["submitted_at"]
    return submitted - begun


if __name__ == "__main__":
    sys.exit(main())
