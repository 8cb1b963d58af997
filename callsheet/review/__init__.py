"""`callsheet review`: the report page on this machine, with verdicts that are kept in the ledger."""
