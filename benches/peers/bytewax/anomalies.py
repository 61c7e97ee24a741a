"""JSON to an exponentially weighted z-score per key to anomalies, at least once, on Bytewax: one worker, without recovery.

Arguments: brokers, input, output, alpha, threshold, warm-up. Says "ready" when it starts.
"""

import json
import math
import sys
from typing import Optional, Tuple

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kafka
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

BROKERS, INPUT, OUTPUT = sys.argv[1:4]
ALPHA, THRESHOLD, WARMUP = float(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6])

# Mean, variance and how many records there were.
Ewma = Tuple[float, float, int]


def parse(message: KafkaSourceMessage) -> Tuple[str, Tuple[int, float]]:
    measured = json.loads(message.value)
    return measured["key"], (measured["ts"], measured["value"])


def score(ewma: Optional[Ewma], measured: Tuple[int, float]) -> Tuple[Ewma, Tuple[int, float, float]]:
    """The score of a value, before it is learned; less than zero while it is too early to say."""
    ts, value = measured
    if ewma is None:
        return (value, 0.0, 1), (ts, value, -1.0)
    mean, variance, records = ewma
    distance = value - mean
    if records < WARMUP:
        said = -1.0
    elif distance == 0:
        said = 0.0
    else:
        said = abs(distance) / math.sqrt(variance) if variance > 0 else math.inf
    step = ALPHA * distance
    ewma = (mean + step, (1 - ALPHA) * (variance + distance * step), records + 1)
    return ewma, (ts, value, said)


def tell(scored: Tuple[str, Tuple[int, float, float]]) -> Optional[KafkaSinkMessage]:
    key, (ts, value, said) = scored
    if said < THRESHOLD:
        return None
    text = json.dumps({"ts": ts, "key": key, "value": value, "score": said})
    return KafkaSinkMessage(key.encode(), text.encode())


flow = Dataflow("anomalies")
messages = kafka.input("input", flow, brokers=[BROKERS], topics=[INPUT], batch_size=10_000)
parsed = op.map("parse", messages.oks, parse)
scored = op.stateful_map("score", parsed, score)
anomalies = op.filter_map("tell", scored, tell)
kafka.output("output", anomalies, brokers=[BROKERS], topic=OUTPUT)

print("ready", file=sys.stderr, flush=True)
run_main(flow)
