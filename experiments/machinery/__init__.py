"""What all studies share: plans, runs, tables, pages, figures."""
