"""A network of nodes in containers: the compose file, and the volumes that its init service fills once.

Every service has a volume of its own, mounted at /gridmerit/NAME in the service and, all of them, in the init service:

    public/       genesis.json, and all else of the network that any service may read
    NAME/         a node: node.toml, its keys, passphrase and data/
    agents/       a network directory with the keys of those who trade, and no more
    authority/    the keys that admit members; no service but init mounts it
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gridmerit.network.founders import DISPATCH, GRID
from gridmerit.network.layout import GENESIS_FILE, NETWORK_FILE, Host, Network, make_directory
from gridmerit.network.make import new_network
from gridmerit.network.parameters import load_packaged_profile, load_params_set, make_demo_params, scale_params
from ledger.errors import UnwritableFile
from ledger.params import ChainParams
from market.profile import Profile
from node.errors import BadConfigFile

COMPOSE_FILE = "docker-compose.yml"
MOUNT = "/gridmerit"
PUBLIC, AGENTS, AUTHORITY = "public", "agents", "authority"
PEER_PORT, API_PORT = 9100, 9200
CORE_SHARE_PPM = 30_000  # of one core for the nonces of each node: a dozen share a machine
_PRIVATE_BITS = 0o077
_SHORT_PERIOD_MS = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster's containers: `organisations` host all chains, `players` and an `attacker` the trading chain."""

    organisations: tuple[str, ...]
    players: tuple[str, ...]
    attacker: str | None = None
    trading: str = "jy1"

    @property
    def honest(self) -> tuple[str, ...]:
        return (*self.organisations, *self.players)

    @property
    def names(self) -> tuple[str, ...]:
        return self.honest if self.attacker is None else (*self.honest, self.attacker)

    @property
    def volumes(self) -> tuple[str, ...]:
        return (PUBLIC, *self.names, AGENTS, AUTHORITY)

    @property
    def hosts(self) -> tuple[Host, ...]:
        return tuple(
            Host(name=name) if name in self.organisations else Host(name=name, chains=(self.trading,))
            for name in self.names
        )


def list_candidates(profile: Profile) -> tuple[str, ...]:
    """Members to run containers, in the order of the offer: the centre, the grid company, producers, consumers."""
    players = sorted(profile.players, key=lambda player: player.role != "producer")
    return (DISPATCH, GRID, *(player.name for player in players))


def choose_cluster(profile: Profile, *, organisations: int, players: int, attacked: bool = False) -> Cluster:
    """The first so many organisations, the players that follow, and the next as attacker if one is left."""
    names = list_candidates(profile)
    honest = organisations + players
    assert 1 <= organisations <= honest <= len(names), (organisations, players)
    return Cluster(
        organisations=names[:organisations],
        players=names[organisations:honest],
        attacker=names[honest] if attacked and honest < len(names) else None,
    )


# --- what the init service does ------------------------------------------------------------------


def provision(root: Path, cluster: Cluster, *, params: Sequence[ChainParams], profile: Profile) -> bool:
    """Make the network once, each service's part in its volume below `root`; False where it is there already.

    One with an attacker is disposable. What an interrupted run left behind is made anew: the genesis comes last, and
    nothing starts without it. Raises `BadConfigFile` where a volume of a network that is made has been lost, and what
    `new_network` raises.
    """
    if (root / PUBLIC / GENESIS_FILE).is_file():
        _check_complete(root, cluster)
        return False
    for name in cluster.volumes:
        make_directory(root / name)
        _empty(root / name)
    with tempfile.TemporaryDirectory() as scratch:
        network = new_network(
            Path(scratch) / "network",
            nodes=cluster.hosts,
            params=params,
            profile=profile,
            core_share_ppm=CORE_SHARE_PPM,
            disposable=cluster.attacker is not None,
        )
        for entry in network.nodes:
            _move_in(network.directory_of(entry), root / entry.name)
            _address_node(network, root / entry.name / "node.toml", entry.name)
        _fill_agents(network, root / AGENTS)
        _share_out_rest(network.directory, root)
        _copy(network.genesis_path, root / PUBLIC / GENESIS_FILE)
    return True


def _check_complete(root: Path, cluster: Cluster) -> None:
    for name in cluster.names:
        if not (root / name / "node.toml").is_file():
            problem = (
                f"the network is made, but the volume of {name} is empty; remove all of them to make a new network"
            )
            raise BadConfigFile(file=str(root / name / "node.toml"), problems=problem)


def _address_node(network: Network, file: Path, own: str) -> None:
    """Services reach each other by name on fixed ports; what all of them read is in the public volume."""
    text = file.read_text(encoding="utf-8").replace('"../../', f'"../{PUBLIC}/')
    for entry in network.nodes:
        host = "0.0.0.0" if entry.name == own else entry.name
        text = text.replace(urlsplit(entry.peer_url).netloc, f"{host}:{PEER_PORT}")
        text = text.replace(urlsplit(entry.api_url).netloc, f"{host}:{API_PORT}")
    file.write_text(text, encoding="utf-8")


def _fill_agents(network: Network, home: Path) -> None:
    """The directory of the same network with the keys of players, meters and the dispatcher alone."""
    text = (network.directory / NETWORK_FILE).read_text(encoding="utf-8")
    for entry in network.nodes:
        text = text.replace(urlsplit(entry.peer_url).netloc, f"{entry.name}:{PEER_PORT}")
        text = text.replace(urlsplit(entry.api_url).netloc, f"{entry.name}:{API_PORT}")
    (home / NETWORK_FILE).write_text(text, encoding="utf-8")
    files = {network.genesis}
    for player in network.players:
        files |= {player.key_file, player.passphrase_file, player.meter_key_file, player.meter_passphrase_file}
    if network.dispatcher is not None:
        files |= {network.dispatcher.key_file, network.dispatcher.passphrase_file}
    for name in sorted(files):
        (home / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy(network.directory / name, home / name)


def _share_out_rest(directory: Path, root: Path) -> None:
    """Share out files that are no node's or agent's: those others may read are public, the rest the authority's."""
    for path in sorted(directory.iterdir()):
        if path.name in ("nodes", "keys", NETWORK_FILE, GENESIS_FILE):
            continue
        if path.name == AUTHORITY:
            _move_in(path, root / AUTHORITY)
        else:
            is_public = path.is_file() and path.stat().st_mode & _PRIVATE_BITS
            _copy(path, root / (PUBLIC if is_public else AUTHORITY) / path.name)


def _move_in(source: Path, home: Path) -> None:
    for path in sorted(source.iterdir()):
        _copy(path, home / path.name)


def _copy(source: Path, target: Path) -> None:
    """With its permissions, but not its times, which a volume may not let us set."""
    try:
        if source.is_dir():
            target.mkdir(mode=source.stat().st_mode & 0o777)
            _move_in(source, target)
        else:
            target.touch(mode=source.stat().st_mode & 0o777)
            shutil.copyfile(source, target)
    except OSError as error:
        raise UnwritableFile(file=str(target), detail=error.strerror or str(error)) from None


def _empty(home: Path) -> None:
    for path in home.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def choose_params(period_ms: int, chains: Sequence[ChainParams] | None = None) -> tuple[ChainParams, ...]:
    """These chains, or the recommended ones, at a period of this length; the demo's clock below half a minute."""
    chains = load_params_set() if chains is None else chains
    if period_ms < _SHORT_PERIOD_MS:
        return make_demo_params(period_ms, chains)
    return tuple(scale_params(chain, period_ms) for chain in chains)


# --- the file ------------------------------------------------------------------------------------

_HEAD = """\
# A cluster of {nodes} nodes on one machine: {what}.
# Written by `{command}`; read by Compose v2 and by docker-compose 1.29.
#
#     docker build -t gridmerit .      in a checkout; once
#     docker compose up -d
#     docker compose exec {first} gridmerit status
#     docker compose logs -f agents
#     docker compose down              -v also removes keys, certificates and chains
#
# `init` makes keys, certificates and the genesis, once. Each service mounts its own secrets and what is public. They
# find each other by name; no port is open on this machine, and nothing in the cluster reaches the outside.
# GRIDMERIT_PERIOD_MS is the length of a period, a minute if you do not say; it counts when the network is made.
# GRIDMERIT_BUT names players for whom the agents place no orders, such as homes-3, because you do.
{attack}
x-base: &base
  image: ${{GRIDMERIT_IMAGE:-gridmerit}}
  user: "1000:1000"
  read_only: true
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  tmpfs: ["/tmp:size=64m"]
  logging:
    driver: json-file
    options: {{max-size: 10m, max-file: "3"}}

x-node: &node
  <<: *base
  restart: unless-stopped
  networks: [cluster]
  stop_grace_period: 20s
  depends_on:
    init: {{condition: service_completed_successfully}}

services:
  init:
    <<: *base
    network_mode: none
    healthcheck: {{disable: true}}
    command: [{init}]
    volumes:
{init_volumes}
"""

_HOME = """\
    environment: {{GRIDMERIT_NODE: {mount}/{name}}}
    volumes:
      - {name}:{mount}/{name}
      - {public}:{mount}/{public}:ro
"""

_NODE = (
    """
  {name}:  # {what}
    <<: *node
    command: [start, {mount}/{name}]
"""
    + _HOME
)

_ATTACK_NOTE = """\
#
# Profile `attack`: `GRIDMERIT_ATTACK=equivocation docker compose --profile attack up -d` makes a disposable network, in
# which {name} attacks the others; `gridmerit attack list` has the attacks. No other network can be attacked.
"""

_ATTACKER = (
    """
  {name}:  # an attacker, {trading}
    <<: *node
    profiles: [attack]
    restart: "no"
    command: [attack, start, "${{GRIDMERIT_ATTACK:-none}}", {mount}/{name}]
"""
    + _HOME
)

_TAIL = """
  agents:  # all players of the day with their meters, and the dispatcher's plans
    <<: *node
    command: [agents, {mount}/{agents}, --alive, /tmp/alive, --but, "${{GRIDMERIT_BUT:-}}"]
    environment: {{GRIDMERIT_API: "http://{first}:{api_port}", GRIDMERIT_NODE: {mount}/{agents}}}
    healthcheck:
      test: [CMD, python, -P, -m, node.system.health, /tmp/alive]
    volumes:
      - {agents}:{mount}/{agents}:ro
    depends_on:
{healthy}

networks:
  cluster:
    internal: true

volumes:
{volumes}
"""


def render_compose(cluster: Cluster, choices: Sequence[str] = ()) -> str:
    """The text of the compose file; `choices` are options by which the chains are made."""
    organisations, players = len(cluster.organisations), len(cluster.players)
    options = ["--nodes", str(organisations), *(["--players", str(players)] if players else [])]
    options += choices
    init = ["net", "provision", MOUNT, *options, "--period-ms", "${GRIDMERIT_PERIOD_MS:-60000}"]
    init += ["--attack", "${GRIDMERIT_ATTACK:-}"] if cluster.attacker else []
    what = f"{organisations} organisations with all three chains" + (
        f", {players} market players with the trading chain alone" if players else ""
    )
    head = _HEAD.format(
        nodes=organisations + players,
        what=what,
        command=" ".join(["gridmerit net new DIR --compose", *options]),
        first=cluster.organisations[0],
        attack=_ATTACK_NOTE.format(name=cluster.attacker) if cluster.attacker else "",
        init=", ".join(f'"{word}"' for word in init),
        init_volumes="\n".join(f"      - {name}:{MOUNT}/{name}" for name in cluster.volumes),
    )
    nodes = [
        _NODE.format(name=name, what=_describe(name, cluster), mount=MOUNT, public=PUBLIC) for name in cluster.honest
    ]
    if cluster.attacker:
        place = {"name": cluster.attacker, "trading": cluster.trading, "mount": MOUNT, "public": PUBLIC}
        nodes.append(_ATTACKER.format(**place))
    tail = _TAIL.format(
        first=cluster.organisations[0],
        api_port=API_PORT,
        mount=MOUNT,
        agents=AGENTS,
        healthy="\n".join(f"      {name}: {{condition: service_healthy}}" for name in cluster.honest),
        volumes="\n".join(f"  {name}:" for name in cluster.volumes),
    )
    return "".join([head, *nodes, tail])


def save_compose(directory: Path, text: str) -> Path:
    """Write a new compose file. Raises `UnwritableFile`, also where there is one."""
    make_directory(directory)
    file = directory / COMPOSE_FILE
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise UnwritableFile(file=str(file), detail=error.strerror or str(error)) from None
    return file


def _describe(name: str, cluster: Cluster) -> str:
    what = {DISPATCH: "dispatch centre", GRID: "grid operator"}.get(name, "market player")
    return f"{what}, {'all chains' if name in cluster.organisations else cluster.trading}"


def list_volumes() -> tuple[str, ...]:
    """Every name that a volume may have, whatever the cluster."""
    return (PUBLIC, AGENTS, AUTHORITY, *list_candidates(load_packaged_profile()))


if __name__ == "__main__":
    print("\n".join(list_volumes()))
