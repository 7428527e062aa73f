"""Where rows live: the lake of Delta tables and the engines that read it. Knows tables, not metrics."""
