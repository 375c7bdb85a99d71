"""How a question gets an answer: egress gate → cache → single flight → limiter → service → ledger."""
