from __future__ import annotations

import queue
import struct

import cv2
import msgspec
import numpy as np
import pytest
from answers import make_answer

from sacvit.runtime.web import pictures
from sacvit.runtime.web.pictures import LARGEST_SIDE, Pictures, encode, period_s

WAIT_S = 20.0


@pytest.fixture
def made(monkeypatch):
    """Pictures, and a queue of what they publish."""
    monkeypatch.setattr(pictures, "LEAST_PAUSE_S", 0.0)
    monkeypatch.setattr(pictures, "SHARE", 1e3)
    published: queue.Queue = queue.Queue()
    one = Pictures(published.put, lambda: 1)
    yield one, published
    one.close()


def unpack(message: bytes) -> tuple[int, dict, np.ndarray]:
    camera, length = struct.unpack(">II", message[:8])
    image = cv2.imdecode(np.frombuffer(message[8 + length :], np.uint8), cv2.IMREAD_COLOR)
    return camera, msgspec.json.decode(message[8 : 8 + length]), image


def test_a_message_holds_the_camera_the_answer_and_a_picture():
    camera, answer, image = unpack(encode(make_answer(7, 2, confidence=0.3)))
    assert camera == 2 and image.shape == (48, 64, 3)
    assert answer == {
        "frame": 7, "source": "camera#7", "label": "nut", "probability": 0.93, "stage": "SAC", "confidence": 0.3,
        "degraded": False, "ee_ms": 2.0, "sac_ms": 5.0, "age_ms": 12.0,
    }  # fmt: skip


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (4000, 30), (640, 641)])
def test_large_frames_are_made_smaller_in_their_proportions(height, width):
    _, _, image = unpack(encode(make_answer(image=np.zeros((height, width, 3), np.uint8))))
    assert max(image.shape) == LARGEST_SIDE
    assert image.shape[0] / image.shape[1] == pytest.approx(height / width, rel=0.15)


def test_the_frame_of_the_run_stays_as_it_was():
    answer = make_answer(confidence=0.3)
    before = answer.frame.image.copy()
    encode(answer)
    assert np.array_equal(answer.frame.image, before)


def test_blocks_that_sac_left_out_are_dimmed():
    _, _, image = unpack(encode(make_answer(confidence=0.3, image=np.full((48, 64, 3), 200, np.uint8))))
    is_target, is_not = image[12, 20].mean(), image[12, 44].mean()
    assert is_target > 180 and is_not < 110


def test_nothing_is_encoded_without_a_browser(made):
    one, published = made
    for index in range(50):
        one.offer(make_answer(index))
    assert one.made == 0 and published.empty()


def test_a_picture_is_of_the_newest_frame(made):
    one, published = made
    for index in range(5):
        one.offer(make_answer(index))
    one.want(0)
    assert unpack(published.get(timeout=WAIT_S).message)[1]["frame"] == 4


def test_a_browser_that_came_before_the_first_frame_gets_it(made):
    one, published = made
    one.want(0)
    one.offer(make_answer(3))
    assert unpack(published.get(timeout=WAIT_S).message)[1]["frame"] == 3


def test_a_frame_is_encoded_again_only_for_a_new_browser(made):
    one, published = made
    one.offer(make_answer(3))
    one.want(0)
    published.get(timeout=WAIT_S)
    one.want(0)
    one.want(0, again=True)
    assert published.get(timeout=WAIT_S).number == 2


@pytest.mark.parametrize(
    ("spent_s", "sent", "expected"),
    [(0.0005, 1, 0.1), (0.008, 1, 0.8), (0.001, 20, 0.5)],
    ids=["as often as a person sees", "costly pictures", "many browsers"],
)
def test_pictures_come_less_often_where_they_cost_much_or_many_look(spent_s, sent, expected):
    assert period_s(spent_s, sent, cores=2) == pytest.approx(expected)
