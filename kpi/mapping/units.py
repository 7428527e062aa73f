"""Units of durations and money, and the limits beyond which a value is not believed."""

DURATION_US = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6, "min": 60e6}
MONEY_NUSD = {"usd": 1e9, "cents": 1e7, "milli_usd": 1e6, "micro_usd": 1e3, "nano_usd": 1.0}
SCALES = {"0-1": (0.0, 1.0), "-1-1": (-1.0, 1.0), "1-5": (1.0, 5.0), "0-10": (0.0, 10.0), "0-100": (0.0, 100.0)}
DEAREST_NUSD = 1e15  # a million USD
MOST_TOKENS = 1e9
EARLIEST_US = 946_684_800_000_000  # 2000-01-01: nothing that is measured here is older
