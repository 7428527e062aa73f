"""Data sets read where they stand, in Spark: every statement is compiled to its SQL, and only statistics come back."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from kpi.errors import StoreError
from kpi.mapping.mapping import Mapping as ColumnMappings
from kpi.store.databases import MOST_ROWS, LiveSource, held_as
from kpi.store.dialects import SparkCompiler, SparkDialect
from kpi.store.engines import Statement
from kpi.store.inplace import Held


class SparkSource(LiveSource):
    """Tables or views of a Spark session, Databricks included. The session's time zone must be UTC.

    Args:
        spark: A `SparkSession`.
        name: Of the source, as people call it.
        tables: Canonical table to the name of a table or view.
        mapping: Column mappings of the requests table; without it the columns are canonical.

    Raises:
        StoreError: Where the time zone is another or a table is not there.

    Example:
        >>> kpi.SparkSource(spark, name="lake", tables={"requests": "prod.requests"})  # doctest: +SKIP
    """

    dialect = SparkDialect()

    def __init__(
        self, spark: Any, *, name: str, tables: Mapping[str, str] | None = None, mapping: ColumnMappings | None = None
    ) -> None:
        self._spark = spark
        if spark.conf.get("spark.sql.session.timeZone") not in ("UTC", "Etc/UTC"):
            raise StoreError.told("source.time_zone")
        super().__init__(name=name, place="spark", tables=tables, mapping=mapping)

    def held(self, place: str, schema: str | None) -> Mapping[str, Held]:
        full = f"{schema}.{place}" if schema else place
        if not self._spark.catalog.tableExists(full):
            return {}
        fields = self._spark.table(full).schema.fields
        return {f.name: held_as("spark", f.dataType.simpleString()) for f in fields}

    def run(self, statement: Statement) -> pa.Table:
        compiled = statement.compile(dialect=SparkCompiler(), compile_kwargs={"render_postcompile": True})

        def fetch() -> list[Any]:
            found = self._spark.sql(str(compiled), args=dict(compiled.params)).limit(MOST_ROWS + 1)
            return list(found.collect())

        # pyspark has no common base for what its own and Java's side raise
        rows = self._tried(fetch, (Exception,), lambda error: type(error).__name__)
        return self._arrow([c.name for c in statement.selected_columns], rows, statement)
