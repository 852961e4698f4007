"""Events through an MQTT broker that is killed again and again: how many are lost, and how many come twice.

nice python benchmarks/events_broker.py --events 1000 --kills 10 --out events.json

Needs mosquitto (sudo apt install mosquitto) and 'sacvit[mqtt]'. The broker keeps messages and sessions on the disk, and a
subscriber with a lasting session counts what comes. The exit code is 1 when an event is lost, or comes twice without
`redelivered`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from sacvit.runtime.events.destinations.mqtt import Mqtt
from sacvit.runtime.events.dispatcher import Dispatcher
from sacvit.runtime.events.store import EventStore

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fixtures"))
from mosquitto import Broker

EVENTS_PER_S = 30.0
DOWN_S = 0.5
LAST_S = 60.0  # for the last events to come, after the last kill


class Subscriber:
    """Counts messages; its session outlives its connection, which it opens again."""

    def __init__(self, port: int) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.changed = threading.Condition()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="counter", clean_session=False)
        self._client.on_message = self._take
        is_ready = threading.Event()
        self._client.on_subscribe = lambda *_: is_ready.set()
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe("events", qos=1)
        if not is_ready.wait(10):
            raise SystemExit("the broker takes no subscriber")

    def _take(self, _: object, __: object, message: Any) -> None:
        with self.changed:
            self.bodies.append(json.loads(message.payload))
            self.changed.notify_all()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def kill_broker(broker: Broker, kills: int, every_s: float, chance: random.Random) -> None:
    for _ in range(kills):
        time.sleep(every_s * chance.uniform(0.5, 1.5) - DOWN_S)
        broker.kill()
        time.sleep(DOWN_S)
        broker.start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Broker(folder)
        subscriber = Subscriber(broker.port)
        dispatcher = Dispatcher(EventStore(folder / "queue", 64 << 20), {"there": Mqtt(broker.url())}, live=True)
        every_s = options.events / EVENTS_PER_S / options.kills
        killer = threading.Thread(
            target=kill_broker, args=(broker, options.kills, every_s, random.Random(options.seed))
        )
        began = time.monotonic()
        killer.start()
        sent, longest_put_s = [], 0.0
        for _ in range(options.events):
            sent.append(uuid.uuid4().hex)
            before = time.monotonic()
            dispatcher.put({"event": "benchmark", "id": sent[-1]})
            longest_put_s = max(longest_put_s, time.monotonic() - before)
            time.sleep(1 / EVENTS_PER_S)
        killer.join()
        with subscriber.changed:
            subscriber.changed.wait_for(lambda: {one["id"] for one in subscriber.bodies} >= set(sent), LAST_S)
        duration_s = time.monotonic() - began
        dispatcher.close()
        subscriber.close()
        broker.kill()
    count = Counter(one["id"] for one in subscriber.bodies)
    seen: set[str] = set()
    silent = 0
    for one in subscriber.bodies:
        silent += one["id"] in seen and not one["redelivered"]
        seen.add(one["id"])
    summary = {
        "events": len(sent),
        "kills": options.kills,
        "lost": len(set(sent) - seen),
        "lost_before_the_queue": dispatcher.lost,
        "came_twice": sum(number - 1 for number in count.values()),
        "came_twice_without_saying_so": silent,
        "marked_redelivered": sum(one["redelivered"] for one in subscriber.bodies),
        "attempts": dispatcher.couriers[0].attempts,
        "longest_put_ms": round(1e3 * longest_put_s, 3),
        "duration_s": round(duration_s, 1),
    }
    print(json.dumps(summary, indent=2))
    if options.out is not None:
        options.out.write_text(json.dumps({"summary": summary}, indent=1) + "\n")
    return int(summary["lost"] > 0 or silent > 0)


if __name__ == "__main__":
    sys.exit(main())
