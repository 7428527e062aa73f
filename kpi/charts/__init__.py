"""The charts of the app and of `plot`: a result or a small frame in, an Altair chart out."""

from kpi.charts import inline as inline, reasons as reasons, series as series, spans as spans
from kpi.charts.answers import of as of
from kpi.charts.series import DARK as DARK, LIGHT as LIGHT, VERDICTS as VERDICTS, Look as Look, look as look
