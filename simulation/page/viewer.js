"use strict";
// Plays the film of one trial: the tree of blocks so far, each peer's head, what happened last.
(function () {
  const film = JSON.parse(document.getElementById("film").textContent);
  const byId = (id) => document.getElementById(id);
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7a00", "#6a51a3"];
  const STEP = 34, SIZE = 18, LANE = 34, TOP = 30, LOGGED = 6;
  const SVG = "http://www.w3.org/2000/svg";
  const number = new Map(film.peers.map((name, index) => [name, index]));
  const colourOf = (peer) => COLOURS[number.get(peer) % COLOURS.length];

  // --- where every block of the film stands: its height across, its branch down -----------------------------------

  const blocks = new Map();
  const lastHeads = new Map();
  for (const [time, kind, ...values] of film.events) {
    if (kind === "block") {
      const [peer, hash, parent, height] = values;
      blocks.set(hash, { time, peer, hash, parent, height, lane: 0, main: false });
    }
    if (kind === "head") lastHeads.set(values[0], values[1]);
  }
  const votes = new Map();
  for (const hash of lastHeads.values()) if (blocks.has(hash)) votes.set(hash, (votes.get(hash) || 0) + 1);
  const first = (one, other) =>
    other[1] - one[1] || blocks.get(other[0]).height - blocks.get(one[0]).height || (one[0] < other[0] ? -1 : 1);
  let tip = [...votes].sort(first).map(([hash]) => hash)[0];
  for (; blocks.has(tip); tip = blocks.get(tip).parent) blocks.get(tip).main = true;
  const taken = new Set();
  const rank = (one, other) => one.height - other.height || other.main - one.main || one.time - other.time;
  let lanes = 1;
  for (const block of [...blocks.values()].sort(rank)) {
    const parent = blocks.get(block.parent);
    let lane = block.main ? 0 : Math.max(1, parent ? parent.lane : 1);
    while (taken.has(block.height + "/" + lane)) lane += 1;
    block.lane = lane;
    taken.add(block.height + "/" + lane);
    lanes = Math.max(lanes, lane + 1);
  }
  byId("tree").style.height = Math.max(110, Math.min(420, TOP + lanes * LANE + 14)) + "px";

  // --- the state after so many events --------------------------------------------------------------------------------

  let state, done;
  function reset() {
    done = 0;
    state = { found: [], heads: new Map(), finals: new Map(), away: new Map(), network: "" };
  }
  function apply([, kind, ...values]) {
    if (kind === "block") state.found.push(blocks.get(values[1]));
    else if (kind === "head") state.heads.set(values[0], values[1]);
    else if (kind === "final") state.finals.set(values[0], values[1]);
    else if (kind === "crash") state.away.set(values[0], "down");
    else if (kind === "pause") state.away.set(values[0], "paused");
    else if (kind === "start" || kind === "resume") state.away.delete(values[0]);
    else if (kind === "cut") state.network = "cut: " + values[0];
    else if (kind === "heal") state.network = "";
  }
  function countUntil(time) {
    let low = 0, high = film.events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (film.events[middle][0] <= time) low = middle + 1; else high = middle;
    }
    return low;
  }

  // --- drawing -------------------------------------------------------------------------------------------------------

  function element(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function drawTree() {
    const tree = byId("tree");
    tree.replaceChildren();
    const columns = Math.max(4, Math.floor(tree.clientWidth / STEP) - 1);
    const top = state.found.reduce((most, block) => Math.max(most, block.height), 0);
    const from = Math.max(0, top - columns + 1);
    const x = (block) => (block.height - from) * STEP + 12;
    const y = (block) => TOP + block.lane * LANE;
    const seen = state.found.filter((block) => block.height >= from);
    const present = new Set(seen.map((block) => block.hash));
    for (let height = from; height <= top; height += 1) {
      if (height % 5 === 0) tree.append(element("text", { x: (height - from) * STEP + 14, y: 14 }, height));
    }
    for (const block of seen) {
      if (!present.has(block.parent)) continue;
      const parent = blocks.get(block.parent);
      const ends = { x1: x(parent) + SIZE, y1: y(parent) + SIZE / 2, x2: x(block), y2: y(block) + SIZE / 2 };
      tree.append(element("line", { ...ends, stroke: "#9aa5b1" }));
    }
    for (const block of seen) {
      const shape = { x: x(block), y: y(block), width: SIZE, height: SIZE, rx: 3, fill: colourOf(block.peer) };
      const drawn = element("rect", { ...shape, opacity: block.main ? 1 : 0.45 });
      drawn.append(element("title", {}, `${block.hash}, height ${block.height}, by ${block.peer}` +
        (block.main ? "" : ", stale")));
      tree.append(drawn);
    }
  }
  function drawPeers() {
    const cells = film.peers.map((name) => {
      const head = blocks.get(state.heads.get(name)), final = blocks.get(state.finals.get(name));
      const away = state.away.get(name);
      const cell = document.createElement("div"), label = document.createElement("b"), value = document.createElement("span");
      cell.className = away ? "peer away" : "peer";
      cell.style.borderLeftColor = head ? colourOf(head.peer) : "";
      label.textContent = name;
      value.textContent = away || (head ? `${head.height} ${head.hash.slice(0, 4)}` : "genesis") +
        (final ? `, final ${final.height}` : "");
      cell.append(label, value);
      return cell;
    });
    byId("peers").replaceChildren(...cells);
  }
  function describe([time, kind, ...values]) {
    const at = ((time - film.start_ms) / 1000).toFixed(3).padStart(9) + " s  ";
    if (kind === "block") return `${at}${values[0]} finds ${values[1]} at height ${values[3]} on ${values[2]}`;
    if (kind === "arrive") return `${at}${values[1]} reaches ${values[0]}`;
    if (kind === "head") return `${at}${values[0]} moves its head to ${values[1]}`;
    if (kind === "final") return `${at}${values[1]} is final at ${values[0]}`;
    return `${at}${kind}: ${values.join(" ")}`;
  }
  function lastTold() {
    const told = [];
    for (let index = done - 1; index >= 0 && told.length < LOGGED; index -= 1) {
      if (film.events[index][1] !== "target") told.unshift(film.events[index]);
    }
    return told;
  }
  function show(time) {
    const count = countUntil(time);
    if (count < done) reset();
    while (done < count) apply(film.events[done++]);
    slider.value = time;
    byId("clock").textContent =
      `${((time - film.start_ms) / 1000).toFixed(2)} / ${((film.end_ms - film.start_ms) / 1000).toFixed(2)} s`;
    byId("net").textContent = state.network;
    byId("log").textContent = lastTold().map(describe).join("\n");
    drawTree();
    drawPeers();
  }

  // --- controls ------------------------------------------------------------------------------------------------------

  const slider = byId("slider"), play = byId("play");
  slider.min = film.start_ms;
  slider.max = film.end_ms;
  slider.step = 1;
  let playing = null, before = 0;
  function stop() {
    if (playing !== null) cancelAnimationFrame(playing);
    playing = null;
    play.textContent = "Play";
  }
  function tick(now) {
    const time = Math.min(film.end_ms, Number(slider.value) + (now - before) * Number(byId("speed").value));
    before = now;
    show(time);
    if (time >= film.end_ms) stop(); else playing = requestAnimationFrame(tick);
  }
  play.addEventListener("click", () => {
    if (playing !== null) return stop();
    if (Number(slider.value) >= film.end_ms) show(film.start_ms);
    play.textContent = "Pause";
    before = performance.now();
    playing = requestAnimationFrame(tick);
  });
  function jump(count) {
    stop();
    if (count > 0 && count <= film.events.length) show(film.events[count - 1][0]); else if (count <= 0) show(film.start_ms);
  }
  byId("back").addEventListener("click", () => jump(done ? countUntil(film.events[done - 1][0] - 1) : 0));
  byId("forward").addEventListener("click", () => jump(done + 1));
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  window.addEventListener("resize", drawTree);
  reset();
  show(film.end_ms);
})();
