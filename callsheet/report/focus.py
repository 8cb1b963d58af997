"""Bills as FOCUS rows: the FinOps Open Cost and Usage Specification, version 1.2 (focus.finops.org, 2025-05).

Every mandatory column is there, and the conditional ones that say something here. What is not known is empty,
as the specification asks. `ListUnitPrice` and `ContractedUnitPrice` are left out: a bill of fal's need not be
a whole multiple of a unit price. Costs are what fal charged, in USD; a mark-up or another currency is in the
columns that begin with `x_`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from callsheet.ledger.bill_lines import Bill
from callsheet.report.rows import Value
from callsheet.report.statement import BillStatement, Line
from pricing.budgets import client_key
from pricing.money import usd_text

PROVIDER = "fal"


def _day(bill: Bill) -> datetime:
    return datetime.fromtimestamp(bill.admitted_ms // 86_400_000 * 86_400, UTC)


def _month(bill: Bill, months: int = 0) -> datetime:
    first = _day(bill).replace(day=1)
    return (first + timedelta(days=32)).replace(day=1) if months else first


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _cost(bill: Bill) -> str:
    return usd_text(bill.cost_nano)


def _tags(bill: Bill) -> str:
    tags = {
        "campaign": bill.campaign,
        "client": bill.client,
        "custom_id": bill.custom_id,
        "take": str(bill.take),
        "run_id": bill.run_id,
        "model": bill.model,
        "stage": bill.stage,
        "cost_basis": bill.cost_basis,
    }
    return json.dumps({name: text for name, text in tags.items() if text}, ensure_ascii=False)


_COLUMNS: dict[str, Callable[[Bill], Value]] = {
    "BilledCost": _cost,
    "BillingAccountId": lambda bill: bill.account or PROVIDER,
    "BillingAccountName": lambda _: None,
    "BillingCurrency": lambda _: "USD",
    "BillingPeriodEnd": lambda bill: _time(_month(bill, 1)),
    "BillingPeriodStart": lambda bill: _time(_month(bill)),
    "ChargeCategory": lambda _: "Usage",
    "ChargeClass": lambda _: None,
    "ChargeDescription": lambda bill: f"{bill.stage or 'video'} {bill.custom_id}, {bill.model}",
    "ChargeFrequency": lambda _: "Usage-Based",
    "ChargePeriodEnd": lambda bill: _time(_day(bill) + timedelta(days=1)),
    "ChargePeriodStart": lambda bill: _time(_day(bill)),
    "ConsumedQuantity": lambda _: 1,
    "ConsumedUnit": lambda _: "Requests",
    "ContractedCost": _cost,
    "EffectiveCost": _cost,
    "InvoiceIssuerName": lambda _: PROVIDER,
    "ListCost": _cost,
    "PricingCategory": lambda _: "Standard",
    "PricingQuantity": lambda bill: bill.billable_units or 1,
    "PricingUnit": lambda bill: "Units" if bill.billable_units else "Requests",
    "ProviderName": lambda _: PROVIDER,
    "PublisherName": lambda bill: "ByteDance" if "seedance" in bill.endpoint else PROVIDER,
    "RegionId": lambda _: None,
    "RegionName": lambda _: None,
    "ResourceId": lambda bill: bill.request_id or None,
    "ResourceName": lambda bill: bill.custom_id if bill.request_id else None,
    "ResourceType": lambda bill: "Video" if bill.request_id else None,
    "ServiceCategory": lambda _: "AI and Machine Learning",
    "ServiceName": lambda _: "fal model APIs",
    "ServiceSubcategory": lambda _: "Generative AI",
    "SkuId": lambda bill: bill.endpoint,
    "SkuPriceId": lambda bill: bill.endpoint,
    "SubAccountId": lambda bill: client_key(bill.client) or None,
    "SubAccountName": lambda bill: bill.client or None,
    "SubAccountType": lambda bill: "Client" if bill.client else None,
    "Tags": _tags,
}
FOCUS_COLUMNS = tuple(_COLUMNS)
CHARGE_COLUMNS = ("x_ChargedCost", "x_ChargedCurrency", "x_MarkupPercent", "x_ExchangeRate")


def focus_header(statement: BillStatement) -> list[str]:
    """Return the names of the columns: FOCUS's own, then those of a charge where there is one."""
    return [*FOCUS_COLUMNS, *(CHARGE_COLUMNS if statement.facts.terms else ())]


def focus_cells(statement: BillStatement, line: Line) -> list[Value]:
    """Return the row of one bill."""
    cells = [value(line.bill) for value in _COLUMNS.values()]
    if (terms := statement.facts.terms) is not None:
        cells += [statement.charge_text(line.charge), terms.currency]
        cells += [terms.markup_text.rstrip("%"), terms.rate_text]
    return cells
