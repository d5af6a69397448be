# Reads a histogram log with HdrHistogram's own port to Python, and says what is in it: a line of JSON for each histogram.
import json
import math
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, 3_600_000, 3))
while (histogram := reader.get_next_interval_histogram()) is not None:
    count = histogram.get_total_count()

    def at(share):
        # This port rounds a rank to the nearest, where most round up: so it is given a share that is a whole rank.
        rank = math.ceil(share * count - 1e-9)
        return histogram.get_value_at_percentile(100 * rank / count) if count else 0

    print(json.dumps({
        "tag": histogram.get_tag(),
        "from_ms": round(histogram.get_start_time_stamp()),
        "count": count,
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99),
        "max": histogram.get_max_value() if count else 0,
    }))
