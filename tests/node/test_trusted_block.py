"""A whole node with an anchor in its node.toml: what it says of it, and when it does not start."""

import pytest

from gridmerit.commands.status import render
from gridmerit.network.doctor import examine
from gridmerit.output import format_error
from node.chain.trusted_block import TrustedBlock
from node.config import save_config
from node.errors import AnchorContradicted
from node.queries.answers import NodeStatus
from node.queries.chain import ChainQueries
from node.runtime import Runtime
from node.system.clock import now_ms

pytestmark = pytest.mark.live


def with_anchor(config, anchor):
    chain = config.chains[0].model_copy(update={"anchor": anchor})
    return config.model_copy(update={"chains": (chain,)})


def shown(local, runtime):
    chain = ChainQueries(local.host(runtime).node).get_status(now_ms())
    status = NodeStatus(version="0", member=None, address=None, uptime_ms=0, chains=(chain,), peers=(), sealing={})
    return " ".join(render(status, "here").split())


async def test_a_node_starts_on_its_anchor_or_before_it_and_never_against_it(make_local, tmp_path):
    local = make_local(1)
    async with local.running() as [node]:
        await local.until(lambda: local.height(node) >= 3)
        block_hash = local.host(node).node.chain.hash_at(2)
        assert "anchor" not in shown(local, node)
    wrong = with_anchor(local.configs[0], TrustedBlock(2, b"\x02" * 32))
    with pytest.raises(AnchorContradicted) as caught:
        Runtime(wrong)
    told = format_error(caught.value)
    assert "error[AnchorContradicted] chain jy1 in " in told
    assert "the store has another block at height 2" in told
    assert "gridmerit block show 2 on a node that you trust" in told
    save_config(wrong, tmp_path / "node.toml")
    findings = {finding.what: finding for finding in await examine(tmp_path)}
    assert "AnchorContradicted" in findings["store of jy1"].detail

    ahead = Runtime(with_anchor(local.configs[0], TrustedBlock(9_999, b"\x02" * 32)))
    assert f"anchor 9999 {'02' * 32}, not reached yet" in shown(local, ahead)
    assert local.host(ahead).node.is_syncing
    await ahead.stop()
    right = Runtime(with_anchor(local.configs[0], TrustedBlock(2, block_hash)))
    assert f"anchor 2 {block_hash.hex()}, on this chain" in shown(local, right)
    await right.stop()
