"""Two versions, or two groups, on every metric: better, worse, equivalent or not yet known."""
