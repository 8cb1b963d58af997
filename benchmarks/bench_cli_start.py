"""How soon the command line answers: help, and the plan of a hundred rows."""

from __future__ import annotations

import sys

from measuring import CALLSHEET, Figure, Place, median_s, place, report, succeed

TIMES = 7
HELP_BOUND_S = 0.3
PLAN_BOUND_S = 0.6


def main() -> int:
    """Measure and print."""
    with place() as here:
        environment = here.environment()

        def seconds(*command: str) -> float:
            return median_s(lambda: succeed(list(command), environment), TIMES)

        bare = seconds(sys.executable, "-c", "pass")
        prefect = seconds(sys.executable, "-c", "import prefect")
        help_ = seconds(CALLSHEET, "--help")
        plan = _plan_seconds(here, environment)
    return report(
        [
            Figure("bare python", f"{bare:.3f} s"),
            Figure("import prefect", f"{prefect:.3f} s"),
            Figure(
                "callsheet --help",
                f"{help_:.3f} s",
                f"{help_ - bare:.3f} s above bare python",
                f"< {HELP_BOUND_S} s",
                help_ < HELP_BOUND_S,
            ),
            Figure(
                "callsheet plan, 100 rows",
                f"{plan:.3f} s",
                f"import prefect alone: {prefect:.3f} s",
                f"< {PLAN_BOUND_S} s",
                plan < PLAN_BOUND_S,
            ),
        ]
    )


def _plan_seconds(here: Place, environment: dict[str, str]) -> float:
    manifest = here.manifest(100)
    command = [CALLSHEET, "plan", str(manifest), "--budget-usd", "100", "--json"]
    return median_s(lambda: succeed(command, environment), TIMES)


if __name__ == "__main__":
    sys.exit(main())
