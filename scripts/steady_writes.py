"""Writes at a steady pace, how long each takes, and what Cairn's metrics say that it does meanwhile: for bench-goals."""

import http.client
import struct
import sys
import threading
import time


def quantile(latencies, of=0.99):
    return sorted(latencies)[int(len(latencies) * of)] if latencies else float("nan")


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def field(number, content):
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


class Target:
    """A request that is written anew in place for each time: values and stamps have a fixed length."""

    SERIES = 100

    def __init__(self, number):
        text, ends = b"", []
        sample = b"\x09" + struct.pack("<d", 0) + b"\x10" + varint(int(time.time() * 1000))
        for ordinal in range(self.SERIES):
            labels = {"__name__": f"bench_goals_{ordinal}", "instance": f"board-{number:03}:9100", "job": "node"}
            encoded = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in labels.items())
            text += field(1, encoded + field(2, sample))
            ends.append(len(text))
        # Snappy's block format, one literal.
        head = varint(len(text)) + b"\xfc" + struct.pack("<I", len(text) - 1)
        self.body = bytearray(head + text)
        self.length = len(sample)
        # A sample is the last of its series.
        self.places = [len(head) + end - self.length for end in ends]
        self.value = number

    def at(self, seconds):
        self.value += 1
        stamp = varint(int(seconds * 1000))
        for ordinal, place in enumerate(self.places):
            value = struct.pack("<d", self.value * (ordinal % 10) + ordinal)
            self.body[place : place + self.length] = b"\x09" + value + b"\x10" + stamp
        return bytes(self.body)


class Phase:
    """A steady load for a while, and what Cairn's metrics say meanwhile."""

    EVERY, SENDERS, TARGETS = 0.01, 10, 50
    LOOK = 0.5  # seconds between two looks at the metrics
    WARM = 5  # seconds that do not count: series are defined, files opened
    LEAST = 60  # seconds: Cairn looks so often what is to be merged
    HEADERS = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"}

    def __init__(self, server, seconds):
        self.server, self.seconds, self.over = server, seconds, threading.Event()
        self.writes, self.looks, self.failed = [], [], []

    def run(self, order, done):
        """Gives an order when it is warm; ends with its time, or after a minute when `done` finds that nothing more is to come."""
        self.begun = time.monotonic() + 0.2
        senders = [threading.Thread(target=self.send, args=(number,), daemon=True) for number in range(self.SENDERS)]
        for sender in senders:
            sender.start()
        time.sleep(self.WARM)
        self.looks.append((time.monotonic(), self.server.metrics()))
        order()
        least = min(self.seconds, self.LEAST)
        while (past := time.monotonic() - self.begun - self.WARM) < self.seconds and not self.failed:
            time.sleep(self.LOOK)
            self.looks.append((time.monotonic(), self.server.metrics()))
            if past >= least and done(self):
                break
        self.over.set()
        for sender in senders:
            sender.join()  # each request has a timeout
        if self.failed:
            sys.exit(f"a write was not taken: {self.failed[0]}")
        return self

    def send(self, number):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        targets = [Target(target) for target in range(number, self.TARGETS, self.SENDERS)]
        turn, due = 0, self.begun + number * self.EVERY
        while not self.over.is_set():
            body = targets[turn % len(targets)].at(time.time())
            # The timer's own delay is not the server's; waiting for the one before is.
            held_up = time.monotonic() > due
            if not held_up:
                time.sleep(due - time.monotonic())
            begun = due if held_up else time.monotonic()
            try:
                connection.request("POST", "/api/v1/write", body, self.HEADERS)
                answer = connection.getresponse()
                answer.read()
            except OSError as error:
                return self.failed.append(str(error))
            if answer.status >= 300:
                return self.failed.append(str(answer.status))
            if due > self.begun + self.WARM:
                self.writes.append((begun, (time.monotonic() - begun) * 1000))
            turn, due = turn + 1, due + self.EVERY * self.SENDERS

    def change(self, name):
        return self.looks[-1][1][name] - self.looks[0][1][name]

    def all_done(self):
        """Whether all is sealed, and as much merged as was due."""
        due = max(metrics["cairn_merges_due"] for _, metrics in self.looks)
        merged = self.change('cairn_merges_total{result="merged"}')
        return self.looks[-1][1]["cairn_seals_due"] == 0 and due and merged >= due

    def active(self, *kinds):
        """When a seal or a merge was under way: it ended between two looks, and took what the histogram says."""
        out = []
        for kind in kinds or ("seal", "merge"):
            name = f"cairn_{kind}_duration_seconds"
            for (before, old), (now, new) in zip(self.looks, self.looks[1:]):
                if ended := new[f"{name}_count"] - old[f"{name}_count"]:
                    out.append((before - (new[f"{name}_sum"] - old[f"{name}_sum"]) / ended, now))
        return out

    def latencies(self, spans=None, inside=True):
        hit = lambda at: spans is None or any(first <= at <= last for first, last in spans) == inside
        return [took for at, took in self.writes if hit(at)]

    def while_at(self, kind):
        """The 99th percentile of the writes during seals, or merges, in milliseconds, and of how many."""
        found = self.latencies(self.active(kind))
        return quantile(found), len(found)

    def __str__(self):
        counts = {"seals": 'cairn_seals_total{result="sealed"}', "merges": 'cairn_merges_total{result="merged"}',
                  "samples sealed": "cairn_sealed_samples_total", "merged": "cairn_merged_samples_total"}
        said = ", ".join(f"{self.change(name):,.0f} {what}" for what, name in counts.items())
        all_of_them = self.latencies()
        return (f"{len(all_of_them)} writes, p50 {quantile(all_of_them, 0.5):.1f} ms, p99 {quantile(all_of_them):.1f} ms, "
                f"max {max(all_of_them, default=0):.0f} ms, {len(self.latencies(self.active()))} of them disturbed by {said}")
