"""Accounts that wait for a person: a bill came out above its hold, and nothing more may count in them."""

from __future__ import annotations

import time

from callsheet.errors import OverBudget
from callsheet.ledger import Account, AccountRef, Ledger, account_refs, admission
from manifests.plan import Plan


def refuse_frozen(ledger: Ledger, plan: Plan) -> None:
    """Raise OverBudget where an account that the plan counts in is frozen; nothing was sent."""
    frozen = frozen_accounts(ledger, plan)
    if not frozen:
        return
    owners = dict.fromkeys(f"{each.ref.scope.replace('_', ' ')} {each.ref.key}".strip() for each in frozen)
    names = ", ".join(list(owners)[:5])
    first = frozen[0]
    raise OverBudget(
        f"frozen: {names}. A bill came out above what was held for it, and nobody has looked yet; nothing "
        "was sent. `callsheet budget list` names the bill; go on with `callsheet budget unfreeze`",
        scope=str(first.ref),
        limit_nano=first.limit_nano or 0,
        taken_nano=first.taken_nano,
        needed_nano=0,
    )


def frozen_accounts(ledger: Ledger, plan: Plan) -> list[Account]:
    """Return the frozen accounts that jobs of the plan would count in now."""
    frozen = [account for account in ledger.do(admission.balances) if account.frozen]
    concerned = plan_refs(plan) if frozen else frozenset()
    return [account for account in frozen if account.ref in concerned]


def plan_refs(plan: Plan) -> frozenset[AccountRef]:
    """Return every account that the plan's jobs would count in if they were admitted now."""
    now_ms = time.time_ns() // 1_000_000
    owners = {(need.client, need.model) for need in plan.demands()}
    return frozenset(
        ref
        for client, model in owners
        for ref in account_refs(campaign=plan.campaign, client=client, model=model, run_id="", at_ms=now_ms)
    )
