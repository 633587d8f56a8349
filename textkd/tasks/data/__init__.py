"""Where rows come from: files, tables, held-out parts."""
