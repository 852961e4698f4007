"""Browsers' WebSockets, by a client that reads when the test wants it."""

from __future__ import annotations

import asyncio
import json
import struct

import aiohttp
import pytest
from answers import make_answer

from sacvit.runtime.web import viewers

WAIT_S = 20.0


def look(served, script):
    """Runs `script(socket)` with a WebSocket of the page, and returns what it returns."""

    async def session():
        async with aiohttp.ClientSession() as client, client.ws_connect(f"{served.url}ws") as ws:
            return await asyncio.wait_for(script(ws), WAIT_S)

    return asyncio.run(session())


async def text_of(ws, kind: str) -> dict:
    """The next text of a kind."""
    while True:
        message = await ws.receive()
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
        if message.type is aiohttp.WSMsgType.TEXT and (found := json.loads(message.data))["kind"] == kind:
            return found


async def picture_of(ws) -> dict:
    """The answer in the next picture."""
    while (message := await ws.receive()).type is aiohttp.WSMsgType.TEXT:
        pass
    _, length = struct.unpack(">II", message.data[:8])
    return json.loads(message.data[8 : 8 + length])


def test_a_browser_gets_history_state_and_the_events_so_far(serve):
    served = serve()
    served.view.write(make_answer())
    served.view.report_event({"event": "label=nut", "camera": 0})

    async def script(ws):
        return [json.loads((await ws.receive()).data)["kind"] for _ in range(3)]

    assert look(served, script) == ["history", "state", "event"]


def test_the_state_comes_again_with_a_row_for_the_charts(serve):
    served = serve()

    async def script(ws):
        await text_of(ws, "state")
        served.view.write(make_answer())
        while not (row := (await text_of(ws, "state"))["row"])["fps"]:
            pass
        return row

    assert look(served, script)["exit_rate"] == 1.0


def test_an_event_comes_when_it_happens(serve):
    served = serve()

    async def script(ws):
        await text_of(ws, "state")
        served.view.report_event({"event": "camera-lost", "camera": 0, "detail": "no frames"})
        return await text_of(ws, "event")

    assert look(served, script)["event"]["detail"] == "no frames"


def test_a_picture_comes_only_when_it_is_asked_for(serve):
    served = serve()

    async def script(ws):
        frames = []
        for index in range(3):
            served.view.write(make_answer(index))
            await ws.send_str('{"next": 0}')
            frames.append((await picture_of(ws))["frame"])
        served.view.write(make_answer(9))
        await text_of(ws, "state")
        await text_of(ws, "state")
        return frames

    assert look(served, script) == [0, 1, 2]


def test_a_new_browser_sees_the_frame_of_a_camera_that_stands_still(serve):
    served = serve()
    served.view.write(make_answer(5))

    async def script(ws):
        await ws.send_str('{"next": 0}')
        return (await picture_of(ws))["frame"]

    assert [look(served, script) for _ in range(2)] == [5, 5]


@pytest.mark.parametrize(
    "sent", ["", "{", "[]", '{"next": -1}', '{"next": "0"}', '{"next": 0, "more": 1}', "x" * 300, b"\0"]
)
def test_a_browser_that_sends_something_else_is_disconnected(serve, sent):
    async def script(ws):
        await (ws.send_bytes if isinstance(sent, bytes) else ws.send_str)(sent)
        while (message := await ws.receive()).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            pass
        return message.type

    assert look(serve(), script) in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)


def test_a_camera_that_does_not_exist_gives_no_picture(serve):
    async def script(ws):
        await ws.send_str('{"next": 7}')
        return await text_of(ws, "state")

    assert look(serve(), script)


def test_a_browser_too_many_is_refused(serve, monkeypatch):
    monkeypatch.setattr(viewers, "MOST_VIEWERS", 1)
    served = serve()

    async def script(ws):
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"{served.url}ws", headers={"Upgrade": "websocket"}) as answer,
        ):
            return answer.status

    assert look(served, script) == 503


def test_a_browser_that_does_not_read_does_not_hold_the_run(serve):
    """Its texts are bounded, and the chain's call returns at once."""
    served = serve()

    async def script(ws):
        await text_of(ws, "state")
        for index in range(200):
            served.view.write(make_answer(index))
            served.view.report_event({"event": "label=nut", "detail": "x" * 5000})
        return await text_of(ws, "event")

    assert look(served, script)
    assert served.view.counters.frames == 200


def test_the_end_of_the_run_ends_the_connections(serve):
    served = serve()

    async def script(ws):
        await text_of(ws, "state")
        closing = asyncio.get_running_loop().run_in_executor(None, served.view.close)
        while (await ws.receive()).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            pass
        await closing
        return ws.close_code

    assert look(served, script) == aiohttp.WSCloseCode.GOING_AWAY


def test_viewers_are_counted_until_they_leave(serve):
    served = serve()

    async def script(ws):
        return (await text_of(ws, "state"))["viewers"]

    assert look(served, script) == 1
    while served.view.viewers():
        pass
