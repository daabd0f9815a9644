"""Strict readers of the traces that mprun writes.

Of Chrome's trace event format this is a reader of our own: the trace processor of the package `perfetto`
is a program that the package downloads when it is first used. OTLP is read by the messages of
`opentelemetry-proto`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise

# What each phase has beside `ph`, `pid` and `name`, by the description of the format.
_KEYS = {
    "M": {"tid", "args"},
    "X": {"tid", "cat", "ts", "dur", "args"},
    "i": {"tid", "cat", "ts", "s", "args"},
    "C": {"ts", "args"},
    "s": {"tid", "cat", "ts", "id"},
    "f": {"tid", "cat", "ts", "id", "bp"},
}


class ChromeTrace:
    """A trace that was checked: slices by track, counters, flows, instants and names of tracks."""

    def __init__(self, text):
        whole = json.loads(text, parse_constant=_refuse)
        assert set(whole) == {"otherData", "displayTimeUnit", "traceEvents"}
        self.events = whole["traceEvents"]
        self.names = {}
        self.slices, self.instants, self.counters = [], [], defaultdict(list)
        self.flows = defaultdict(dict)
        for event in self.events:
            self._add(event)
        self._check_slices()
        self._check_flows()

    def _add(self, event):
        phase = event["ph"]
        assert set(event) == {"ph", "pid", "name", *_KEYS[phase]}, event
        assert isinstance(event["name"], str)
        assert event["name"].isprintable()
        for key in ("pid", "tid", "ts", "dur"):
            assert type(event.get(key, 0)) is int, event
            assert event.get(key, 0) >= 0, event
        match phase:
            case "M" if event["name"] in ("process_name", "thread_name"):
                place = event["pid"], event["tid"] if event["name"] == "thread_name" else None
                assert place not in self.names
                self.names[place] = event["args"]["name"]
            case "X":
                self.slices.append(event)
            case "i":
                assert event["s"] == "t"
                self.instants.append(event)
            case "C":
                assert all(type(value) is int and value >= 0 for value in event["args"].values())
                self.counters[event["name"]].append((event["ts"], event["args"]))
            case "s" | "f":
                assert phase not in self.flows[event["id"]]
                self.flows[event["id"]][phase] = event

    def _check_slices(self):
        """Of one track, slices follow one another; each track has a name."""
        tracks = defaultdict(list)
        for one in self.slices:
            tracks[one["pid"], one["tid"]].append(one)
        for track, slices in tracks.items():
            assert track in self.names
            slices.sort(key=lambda one: one["ts"])
            for before, after in pairwise(slices):
                assert before["ts"] + before["dur"] <= after["ts"], (before, after)
        for one in self.instants:
            assert (one["pid"], one["tid"]) in self.names
        for values in self.counters.values():
            assert [time for time, _ in values] == sorted(time for time, _ in values)

    def _check_flows(self):
        """A flow leads forward, from one slice to the beginning of another."""
        starts = {(one["pid"], one["tid"], one["ts"]) for one in self.slices}
        for flow in self.flows.values():
            assert set(flow) == {"s", "f"}
            assert flow["s"]["ts"] <= flow["f"]["ts"]
            assert (flow["f"]["pid"], flow["f"]["tid"], flow["f"]["ts"]) in starts
            assert self.slice_at(flow["s"]) is not None

    def slice_at(self, event):
        """The slice of a track that contains the time of an event."""
        for one in self.slices:
            is_on_track = (one["pid"], one["tid"]) == (event["pid"], event["tid"])
            if is_on_track and one["ts"] <= event["ts"] <= one["ts"] + one["dur"]:
                return one
        return None

    def of(self, name):
        """The slices of a task."""
        return [one for one in self.slices if one["name"] == name and one["cat"] != "run"]

    def track(self, event):
        return self.names[event["pid"], event["tid"]]

    def arrows(self):
        """The dependencies, by names."""
        flows = self.flows.values()
        return {(self.slice_at(flow["s"])["name"], self.slice_at(flow["f"])["name"]) for flow in flows}


def _refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def read_otlp(text):
    """The resources and spans of OTLP/JSON; unknown fields and values of another type are errors."""
    from google.protobuf import json_format
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    whole = json.loads(text, parse_constant=_refuse)
    for group in whole["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                for holder in (span, *span.get("links", ())):
                    for key, size in (("traceId", 32), ("spanId", 16), ("parentSpanId", 16)):
                        # OTLP has them in hexadecimal, JSON of protobuf in base64.
                        if key in holder:
                            assert len(holder[key]) == size
                            holder[key] = _base64(holder[key])
    return json_format.ParseDict(whole, TracesData(), ignore_unknown_fields=False).resource_spans


def _base64(digits):
    import base64

    return base64.b64encode(bytes.fromhex(digits)).decode()


def spans_of(resource_spans):
    return [span for group in resource_spans for scope in group.scope_spans for span in scope.spans]


def values_of(holder):
    """The attributes of a span, event or resource by name."""
    found = {}
    for one in holder.attributes:
        assert one.key not in found
        found[one.key] = getattr(one.value, one.value.WhichOneof("value"))
    return found
