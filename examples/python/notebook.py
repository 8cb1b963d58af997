"""Callsheet from Python, in cells: plan, look at the price, run, look at the results.

It runs on the local sandbox: no key, no money. Without `sandbox=True` the same lines buy from fal, with
FAL_KEY in the environment.
"""

# %%
import callsheet

SHOTS = [
    {
        "prompt": f"A glass teapot on a {place}, slow push in",
        "model": "seedance-1.0-pro-fast",
        "resolution": "480p",
        "duration": "2",
    }
    for place in ("sunlit table", "marble counter", "wooden bench")
]

# %% Rows in memory, a DataFrame, a pyarrow Table, or a path: each is a source.
plan = callsheet.plan(SHOTS, budget_usd="1", campaign="teapots", sandbox=True)
print(f"{plan.jobs} jobs, expected ${plan.expected_usd}, at most ${plan.maximum_usd}, fits: {plan.fits}")
print(plan.to_pandas()[["custom_id", "maximum_usd"]])

# %% Nothing has been spent so far. Where an event loop runs already: `await callsheet.run_async(plan, ...)`.
summary = callsheet.run(plan, sandbox=True, speed=50)
print(f"{summary.run_id}: {summary.succeeded} succeeded, ${summary.actual_usd}")

# %%
print(summary.results()[["custom_id", "status", "actual_usd", "output_path"]])
