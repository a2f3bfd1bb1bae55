"""A sample of what `make torn` does at length: crashes and failures of the disk at moments of a node's life."""

from random import Random

import pytest

from ledger.torn_tail import find_torn_tail
from tests.torn import torn_images

pytestmark = pytest.mark.live
IMAGES = 30


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    return torn_images.record(tmp_path_factory.mktemp("life"))


async def test_a_node_that_crashed_has_all_that_others_have_heard_of(life, tmp_path):
    assert {"C", "D", "K", "M", "R", "S", "T", "U", "W"} == {operation.kind for operation in life.operations}
    torn_images.check_images(life, tmp_path, images=IMAGES, random=Random(1))


async def test_one_that_crashes_again_while_it_recovers_has_too(life, tmp_path):
    again = torn_images.crash_and_live_on(life, tmp_path, Random(2))
    torn_images.check_images(again, tmp_path, images=IMAGES // 2, random=Random(2))


async def test_one_whose_torn_log_was_cut_has_it_cut_for_good(life, tmp_path):
    def is_torn(image):
        logs = sorted(path for path in image[0] if path.endswith(".log"))
        return bool(logs) and find_torn_tail(image[0][logs[-1]]) is not None

    random = Random(3)
    torn = next(filter(is_torn, (life.crash(random) for _ in range(1_000))))
    again = torn_images.live_on(life, tmp_path, torn)
    assert any(operation.kind == "T" and operation.path.endswith(".log") for operation in again.operations)
    torn_images.check_images(again, tmp_path, images=IMAGES, random=random)


@pytest.mark.parametrize("how", torn_images.FAILURES)
async def test_an_operation_that_fails_loses_nothing(how, tmp_path):
    assert torn_images.check_failure(tmp_path, fail_at=40 + how, how=how)


async def test_a_loss_is_seen(life, tmp_path):
    files, told, _ = life.crash(Random(1))
    image = torn_images.write_image(files, tmp_path / "image")
    told.height += 100
    with pytest.raises(torn_images.Broken, match="others have heard of"):
        torn_images.judge(image, told, life.known)
