"""Numbers to reasons: what moved, where and for whom."""
