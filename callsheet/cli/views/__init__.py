"""What commands print: plans, advice, money, findings, problems."""
