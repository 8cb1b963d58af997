"""How much memory a run of 10,000 jobs takes, beside one of 100, and beside `import prefect`."""

from __future__ import annotations

import subprocess
import sys

from measuring import Figure, oracle, peak_rss_mib, place, report, run_command, sandbox

FEW = 100
MANY = 10_000
SPEED = 10_000.0
GROWTH_BOUND_KB = 40.0
PEAK_BOUND_MIB = 400.0


def main() -> int:
    """Measure and print. A count given on the command line takes the place of 10,000."""
    many = int(sys.argv[1]) if len(sys.argv) > 1 else MANY
    prefect = peak_rss_mib(subprocess.Popen([sys.executable, "-c", _IMPORT]), every_s=0.02)
    few_mib = _run_mib(FEW)
    many_mib = _run_mib(many)
    growth_kb = (many_mib - few_mib) * 1024 / (many - FEW)
    return report(
        [
            Figure("import prefect", f"{prefect:.0f} MiB"),
            Figure(f"run of {FEW:,} jobs", f"{few_mib:.0f} MiB", f"import prefect: {prefect:.0f} MiB"),
            Figure(
                f"run of {many:,} jobs",
                f"{many_mib:.0f} MiB",
                f"{FEW:,} jobs: {few_mib:.0f} MiB",
                f"< {PEAK_BOUND_MIB:g} MiB",
                many_mib < PEAK_BOUND_MIB,
            ),
            Figure(
                "growth for each job",
                f"{growth_kb:.1f} KB",
                "Prefect's mapped tasks: 41 KB (sync), 332 KB (async)",
                f"< {GROWTH_BOUND_KB:g} KB",
                growth_kb < GROWTH_BOUND_KB,
            ),
        ]
    )


# The pause keeps the process there until its peak has been read.
_IMPORT = "import time, prefect; time.sleep(0.3)"


def _run_mib(count: int) -> float:
    """Run `count` jobs on a sandbox of their own; return the client's peak memory in MiB."""
    with place() as here, sandbox(here.data_dir / "sandbox", SPEED) as url:
        command = run_command(here.manifest(count), here, SPEED)
        process = subprocess.Popen(
            command, env=here.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        peak_mib = peak_rss_mib(process)
        accepted = oracle(url)["accepted_count"]
    if process.returncode != 0 or accepted != count:
        sys.exit(f"the run of {count} jobs ended with {process.returncode}; {accepted} were accepted")
    return peak_mib


if __name__ == "__main__":
    sys.exit(main())
