"use strict";

// The page of a run. It shows the clips of #data: as cards, of which one sheet is in the document at a time, and in
// a viewer that plays the takes of one shot together. Text of the data becomes text of the page and nothing else.
const page = (() => {
  const CARDS_ON_A_SHEET = 96;
  const STRIP_FRAMES = 6;
  const FRAME_S = 1 / 24;
  const APART_S = 0.08;
  const GROUPS = {
    done: "Finished", failed: "Failed", unknown: "Outcome unknown", skipped: "Skipped", open: "Open",
  };

  const $ = (selector, root = document) => root.querySelector(selector);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const data = JSON.parse($("#data").textContent);
  const clips = data.clips;
  const own = clips.filter((clip) => !("other" in clip));
  const shots = new Map();
  const keys = new Map();
  const watchers = [];

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  const counted = (number) => number.toLocaleString("en");

  function usd(nano) {
    const [whole, part] = (nano / 1e9).toFixed(9).split(".");
    return `$${whole}.${part.slice(0, 2)}${part.slice(2).replace(/0+$/, "")}`;
  }

  for (const clip of clips) {
    if (clip.shot) {
      shots.set(clip.shot, [...(shots.get(clip.shot) ?? []), clip]);
    }
  }
  for (const takes of shots.values()) {
    takes.sort((one, other) => one.take - other.take);
  }

  function describe(clip) {
    const parts = [clip.id, `row ${clip.row}`, clip.prompt, clip.client, clip.model, clip.error, clip.note];
    clip.text = [...parts, ...clip.flags.map((flag) => flag[1])].join("\n").toLowerCase();
  }
  clips.forEach(describe);

  function takesOf(clip) {
    return clip.shot ? shots.get(clip.shot) : [clip];
  }

  function playersOf(clip) {
    return takesOf(clip).flatMap((take) => [
      ...(take.draft ? [{ clip: take, source: take.draft, title: "draft" }] : []),
      { clip: take, source: take.video, title: take.draft ? "finish" : "" },
    ]);
  }

  // -- filters ------------------------------------------------------------------------------------------------

  const search = $("#search");
  const sort = $("#sort");
  const facets = [
    { name: "group", of: (clip) => [clip.group] },
    { name: "client", none: "no client", of: (clip) => [clip.client] },
    { name: "model", of: (clip) => [clip.model] },
    { name: "resolution", of: (clip) => [clip.resolution] },
    { name: "verdict", none: "not judged", of: (clip) => [clip.verdict] },
    { name: "flag", none: "no flag", of: (clip) => (clip.flags.length ? clip.flags.map((flag) => flag[0]) : [""]) },
  ];
  let shown = own;

  for (const facet of facets) {
    facet.chosen = null;
    const found = facet.name === "verdict" && data.review ? ["keep", "retake", "reject", ""] : [];
    facet.values = [...new Set([...found, ...own.flatMap(facet.of)])];
    if (facet.name === "group") {
      facet.values = Object.keys(GROUPS).filter((group) => facet.values.includes(group));
      offerGroups(facet);
    } else if (facet.values.length > 1) {
      offerFacet(facet);
    }
  }

  function offerGroups(facet) {
    const box = $(".groups");
    const values = facet.values.length > 1 ? [null, ...facet.values] : [null];
    facet.counters = values.map((value) => {
      const input = make("input", { type: "radio", name: "show", checked: value === null });
      const count = make("b");
      input.addEventListener("change", () => choose(facet, value));
      box.append(make("label", {}, input, make("span", { className: value ?? "" }, `${value ? GROUPS[value] : "All"} `, count)));
      return { value, input, write: (number) => (count.textContent = counted(number)) };
    });
    facet.show = () => facet.counters.forEach(({ value, input }) => (input.checked = value === facet.chosen));
  }

  function offerFacet(facet) {
    const select = make("select");
    facet.counters = [null, ...facet.values].map((value, at) => {
      const option = make("option", { value: at ? String(at - 1) : "" });
      const name = value === null ? "all" : value || facet.none;
      select.append(option);
      return { value, write: (number) => (option.textContent = `${name} (${counted(number)})`) };
    });
    select.addEventListener("change", () => choose(facet, select.value === "" ? null : facet.values[select.value]));
    facet.show = () => (select.value = facet.chosen === null ? "" : String(facet.values.indexOf(facet.chosen)));
    $(".facets").append(make("label", { className: "pick" }, make("span", {}, facet.name), select));
  }

  function choose(facet, value) {
    facet.chosen = value;
    update();
  }

  // Each facet counts the clips that fit all the other filters.
  function fitting() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const counts = new Map(facets.map((facet) => [facet, new Map([[null, 0]])]));
    const fit = [];
    const add = (facet, clip) => {
      const count = counts.get(facet);
      for (const value of [null, ...new Set(facet.of(clip))]) {
        count.set(value, (count.get(value) ?? 0) + 1);
      }
    };
    for (const clip of own) {
      if (!words.every((word) => clip.text.includes(word))) {
        continue;
      }
      const against = facets.filter((facet) => facet.chosen !== null && !facet.of(clip).includes(facet.chosen));
      if (!against.length) {
        fit.push(clip);
        facets.forEach((facet) => add(facet, clip));
      } else if (against.length === 1) {
        add(against[0], clip);
      }
    }
    for (const facet of facets.filter((each) => each.counters)) {
      facet.counters.forEach(({ value, write }) => write(counts.get(facet).get(value) ?? 0));
    }
    return fit;
  }

  const orders = {
    order: null,
    name: (one, other) => one.id.localeCompare(other.id, "en", { numeric: true }),
    cost: (one, other) => (other.cost ?? -1) - (one.cost ?? -1),
    flag: (one, other) => other.flags.length - one.flags.length,
  };

  function update() {
    shown = fitting();
    if (orders[sort.value]) {
      shown.sort(orders[sort.value]);
    }
    facets.forEach((facet) => facet.show?.());
    const sum = shown.reduce((nano, clip) => nano + (clip.cost ?? 0), 0);
    const what = shown.length === own.length ? "" : ` of ${counted(own.length)}`;
    $(".count").textContent = `${counted(shown.length)}${what} ${own.length === 1 ? "clip" : "clips"}, ${usd(sum)}`;
    $("#none").hidden = shown.length > 0;
    offerSheets();
    draw(0);
  }

  function clear() {
    search.value = "";
    facets.forEach((facet) => (facet.chosen = null));
    update();
  }

  // -- cards --------------------------------------------------------------------------------------------------

  const grid = $(".grid");
  const template = $("#card").content.firstElementChild;
  const pagers = [...document.querySelectorAll(".pager")];
  let first = 0;
  let drawn = [];

  // The sheet with the clip at this place of `shown`. Cards that leave the document are made anew when they return.
  function draw(at) {
    first = at - (at % CARDS_ON_A_SHEET);
    put(shown.slice(first, first + CARDS_ON_A_SHEET));
    for (const pager of pagers) {
      $("select", pager).value = String(first);
      $(".back", pager).disabled = first === 0;
      $(".on", pager).disabled = first + CARDS_ON_A_SHEET >= shown.length;
    }
  }

  function put(these) {
    const before = drawn;
    drawn = these;
    grid.start = first + 1;
    grid.replaceChildren(...drawn.map(cardOf));
    const here = new Set(drawn);
    before.filter((clip) => !here.has(clip)).forEach((clip) => (clip.card = null));
  }

  function offerSheets() {
    const starts = Array.from({ length: Math.ceil(shown.length / CARDS_ON_A_SHEET) }, (_, sheet) => sheet * CARDS_ON_A_SHEET);
    for (const pager of pagers) {
      pager.hidden = starts.length < 2;
      $("select", pager).replaceChildren(...starts.map((start) => {
        const end = Math.min(start + CARDS_ON_A_SHEET, shown.length);
        return make("option", { value: String(start), textContent: `${counted(start + 1)}–${counted(end)}` });
      }));
      $("span", pager).textContent = `of ${counted(shown.length)}`;
    }
  }

  function turnTo(at) {
    draw(at);
    $("main").scrollIntoView();
  }

  for (const pager of pagers) {
    $(".back", pager).addEventListener("click", () => turnTo(first - CARDS_ON_A_SHEET));
    $(".on", pager).addEventListener("click", () => turnTo(first + CARDS_ON_A_SHEET));
    $("select", pager).addEventListener("change", (event) => turnTo(Number(event.target.value)));
  }

  function cardOf(clip) {
    clip.card ??= newCard(clip);
    return clip.card;
  }

  function newCard(clip) {
    const card = template.cloneNode(true);
    const still = $(".still", card);
    card.classList.add(clip.group);
    $(".name", card).textContent = clip.id;
    $(".row", card).textContent = `row ${clip.row}`;
    $(".state", card).textContent = clip.label;
    fill($(".error", card), clip.error && `${clip.error}${clip.charged ? ` (${clip.charged})` : ""}`);
    fill($(".flags", card), clip.flags.map((flag) => flag[1]).join(" · "));
    $(".prompt", card).textContent = clip.prompt;
    $(".facts", card).append(...factsOf(clip));
    $(".cost b", card).textContent = clip.cost === null ? "not settled" : usd(clip.cost);
    $(".cost span", card).textContent = `expected ${usd(clip.expected)}`;
    const takes = playersOf(clip).length;
    fill($(".badge", card), takes > 1 ? `${takes} takes` : "");
    if (clip.poster) {
      $("img", card).src = clip.poster;
    } else {
      $("img", card).remove();
      $(".blank", card).textContent = clip.video ? "Play" : clip.label;
    }
    still.setAttribute("aria-label", `Open ${clip.id}${takes > 1 ? `, ${takes} takes` : ""}`);
    still.addEventListener("click", () => open(clip));
    if (clip.strip) {
      scrub(still, $(".strip", card), clip.strip);
    }
    still.clip = clip;
    clip.card = card;
    refresh(clip);
    return card;
  }

  function fill(element, text) {
    element.textContent = text || "";
    element.hidden = !text;
  }

  function factsOf(clip) {
    const client = clip.client ? [" · ", make("bdi", { textContent: clip.client })] : [];
    return [clip.model, ...client, make("br"), clip.shape];
  }

  // The strip is one file of six pictures; the one under the pointer is shown.
  function scrub(still, strip, source) {
    still.addEventListener("pointermove", (event) => {
      if (calm.matches || event.pointerType === "touch") {
        return;
      }
      const at = Math.floor((event.offsetX / still.clientWidth) * STRIP_FRAMES);
      strip.style.backgroundImage = `url("${source}")`;
      strip.style.backgroundPositionX = `${(Math.min(Math.max(at, 0), STRIP_FRAMES - 1) / (STRIP_FRAMES - 1)) * 100}%`;
      still.classList.add("scrubbing");
    });
    still.addEventListener("pointerleave", () => still.classList.remove("scrubbing"));
  }

  function refresh(clip) {
    describe(clip);
    if (clip.card) {
      const verdict = $(".verdict", clip.card);
      verdict.hidden = !clip.verdict && !clip.note;
      $("b", verdict).textContent = clip.verdict;
      $("bdi", verdict).textContent = clip.note;
      clip.card.dataset.verdict = clip.verdict;
    }
    watchers.forEach((watch) => watch(clip));
    if (viewer.open && playersOf(opened).some((player) => player.clip === clip)) {
      captions();
      about();
    }
  }

  // -- the viewer ---------------------------------------------------------------------------------------------

  const viewer = $("#viewer");
  const stage = $(".stage", viewer);
  const seek = $("#seek");
  const clock = $("#clock");
  let opened = null;
  let players = [];
  let active = 0;
  let isPlaying = false;

  function open(clip) {
    opened = clip;
    stop();
    players = playersOf(clip);
    players.forEach((player) => (player.figure = figureOf(player)));
    stage.replaceChildren(...players.map((player) => player.figure));
    $("#viewer-name").textContent = clip.id;
    $(".viewer-top .row").textContent = `row ${clip.row}`;
    const place = shown.indexOf(clip);
    $(".place", viewer).textContent = place < 0 ? "" : `${counted(place + 1)} of ${counted(shown.length)}`;
    $(".controls", viewer).hidden = !videos().length;
    select(players.findIndex((player) => player.clip === clip && player.title !== "draft"));
    seekTo(0);
    if (!viewer.open) {
      viewer.showModal();
    }
    $('[data-do="play"]', viewer).focus();
    if (!calm.matches) {
      play();
    }
  }

  function figureOf(player) {
    const { clip, source } = player;
    const figure = make("figure");
    if (source) {
      const video = make("video", { src: source, playsInline: true, preload: "auto", muted: true });
      if (clip.poster) {
        video.poster = clip.poster;
      }
      video.addEventListener("loadedmetadata", bounds);
      video.addEventListener("ended", () => video === leader() && again());
      video.addEventListener("error", () => fill($(".gone", figure), "The file is not where it was."));
      player.video = video;
      figure.append(video, make("p", { className: "gone", hidden: true }));
    } else {
      figure.append(make("div", { className: "blank", textContent: clip.label }));
    }
    figure.append(make("figcaption"));
    figure.addEventListener("click", () => select(players.findIndex((each) => each.figure === figure)));
    return figure;
  }

  function captions() {
    for (const { clip, title, figure } of players) {
      const name = make("bdi", { textContent: clip.id });
      const cost = title ? clip.parts[title] : clip.cost;
      const words = [title, clip.other && `run ${clip.other}`, cost === null ? "" : usd(cost), clip.verdict];
      $("figcaption", figure).replaceChildren(name, ` ${words.filter(Boolean).map((word) => `· ${word}`).join(" ")}`);
    }
  }

  function select(at) {
    active = Math.max(0, at);
    players.forEach(({ figure }, number) => figure.classList.toggle("active", players.length > 1 && number === active));
    captions();
    about();
    listen();
  }

  function about() {
    const clip = players[active].clip;
    const list = make("dl", { className: "details" });
    for (const [word, value] of clip.details) {
      list.append(make("div", {}, make("dt", { textContent: word }), make("dd", { textContent: value })));
    }
    if (clip.link) {
      const link = make("a", { href: clip.link, rel: "noreferrer noopener", textContent: "the file, for as long as fal keeps it" });
      list.append(make("div", {}, make("dt", { textContent: "at fal" }), make("dd", {}, link)));
    }
    const text = (className, content) => (content ? [make("p", { className, dir: "auto", textContent: content })] : []);
    const cost = clip.cost === null ? "not settled" : usd(clip.cost);
    const said = clip.reviews.map((review) => make("li", {}, ...saidIn(review)));
    $(".about", viewer).replaceChildren(
      make("div", { className: "judge" }),
      ...text("error", clip.error),
      ...text("flags", clip.flags.map((flag) => flag[1]).join(" · ")),
      ...text("prompt", clip.prompt),
      make("p", { className: "facts" }, ...factsOf(clip)),
      make("p", { className: "cost" }, make("b", { textContent: cost }), make("span", { textContent: ` expected ${usd(clip.expected)}` })),
      ...(clip.retake_of ? text("facts", `Retake of ${clip.retake_of}`) : []),
      ...(said.length ? [make("h3", { textContent: "Reviews" }), make("ol", { className: "reviews" }, ...said)] : []),
      make("details", {}, make("summary", { textContent: "Details" }), list),
    );
    watchers.forEach((watch) => watch(clip, $(".about .judge", viewer)));
  }

  function saidIn(review) {
    const changes = Object.entries(review.changes).map(([name, value]) => `${name}: ${value}`);
    const words = [review.verdict || "no verdict", ...changes].join(", ");
    return [make("b", { textContent: words }), review.note ? ` “${review.note}”` : "", " ",
      make("span", { textContent: [review.by, review.at].filter(Boolean).join(", ") })];
  }

  const videos = () => players.flatMap((player) => (player.video ? [player.video] : []));

  function leader() {
    return videos().reduce((longest, video) => ((video.duration || 0) > (longest?.duration || 0) ? video : longest ?? video), null);
  }

  function listen() {
    players.forEach(({ video }, number) => video && (video.muted = !$("#sound").checked || number !== active));
  }

  function play() {
    isPlaying = true;
    const speed = Number($("#speed").value);
    videos().forEach((video) => {
      video.playbackRate = speed;
      video.play().catch(() => {});
    });
    $('[data-do="play"]', viewer).textContent = "Pause";
    requestAnimationFrame(follow);
  }

  function stop() {
    isPlaying = false;
    videos().forEach((video) => video.pause());
    $('[data-do="play"]', viewer).textContent = "Play";
  }

  function again() {
    seekTo(0);
    if (isPlaying) {
      play();
    }
  }

  // Keep every take at the time of the longest one.
  function follow() {
    const first = leader();
    if (!isPlaying || !viewer.open || !first) {
      return;
    }
    for (const video of videos()) {
      const time = Math.min(first.currentTime, video.duration || 0);
      if (video !== first && !video.seeking && Math.abs(video.currentTime - time) > APART_S) {
        video.currentTime = time;
      }
    }
    tell(first);
    requestAnimationFrame(follow);
  }

  function tell(first) {
    seek.value = first.currentTime;
    clock.textContent = `${first.currentTime.toFixed(2)} / ${(first.duration || 0).toFixed(2)} s`;
  }

  function bounds() {
    const first = leader();
    seek.max = first?.duration || 1;
    if (first) {
      tell(first);
    }
  }

  function seekTo(time_s) {
    for (const video of videos()) {
      video.currentTime = Math.max(0, Math.min(time_s, video.duration || 0));
    }
    bounds();
  }

  function step(by_s) {
    stop();
    seekTo((leader()?.currentTime ?? 0) + by_s);
  }

  function turn(by) {
    const next = shown[shown.indexOf(opened) + by];
    if (next) {
      open(next);
    }
  }

  const acts = {
    play: () => (isPlaying ? stop() : play()),
    back: () => step(-FRAME_S),
    forward: () => step(FRAME_S),
    previous: () => turn(-1),
    next: () => turn(1),
  };

  viewer.addEventListener("close", () => {
    stop();
    stage.replaceChildren();
    players = [];
    if (shown.includes(opened)) {
      stillAt(shown.indexOf(opened)).focus();
    }
  });
  seek.addEventListener("input", () => seekTo(Number(seek.value)));
  $("#speed").addEventListener("change", () => isPlaying && play());
  $("#sound").addEventListener("change", listen);
  document.addEventListener("click", (event) => {
    const act = event.target.closest?.("[data-do]")?.dataset.do;
    if (act === "close") {
      event.target.closest("dialog").close();
    } else if (act) {
      acts[act]();
    }
  });

  // -- the keyboard -------------------------------------------------------------------------------------------

  const help = $("#help");
  const told = [
    ["/", "search"], ["?", "these keys"], ["← → ↑ ↓", "another clip; in the viewer ↑ ↓ or 1–9 choose a take"], ["Home End", "the first, the last clip"],
    ["Enter", "open a clip with all of its takes"], ["Space", "play and pause"], [", .", "one frame back, forward"], ["Esc", "close"],
  ];

  function showHelp() {
    const list = $(".keys", help);
    list.replaceChildren(...told.map(([key, what]) =>
      make("div", {}, make("dt", {}, make("kbd", { textContent: key })), make("dd", { textContent: what }))));
    help.showModal();
  }

  function current() {
    if (viewer.open) {
      return players[active].clip;
    }
    return document.activeElement?.closest?.(".card")?.querySelector(".still").clip ?? null;
  }

  function columns() {
    return getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  }

  function stillAt(at) {
    if (at < first || at >= first + CARDS_ON_A_SHEET) {
      draw(at);
    }
    return $(".still", shown[at].card);
  }

  function moveTo(at) {
    if (shown.length) {
      const still = stillAt(Math.min(Math.max(at, 0), shown.length - 1));
      still.focus({ preventScroll: true });
      still.closest(".card").scrollIntoView({ block: "nearest" });
    }
  }

  function move(by) {
    const from = current();
    moveTo(from ? shown.indexOf(from) + by : first);
  }

  const moves = {
    ArrowLeft: () => move(-1), ArrowRight: () => move(1), ArrowUp: () => move(-columns()), ArrowDown: () => move(columns()),
    Home: () => moveTo(0), End: () => moveTo(shown.length - 1),
    "/": () => search.focus(), "?": showHelp,
  };
  const plays = {
    ArrowLeft: () => turn(-1), ArrowRight: () => turn(1), " ": acts.play, ",": acts.back, ".": acts.forward, "?": showHelp,
    ArrowUp: () => select((active + players.length - 1) % players.length),
    ArrowDown: () => select((active + 1) % players.length),
  };

  const TYPED_INTO = "textarea, select, input:not([type=checkbox], [type=radio], [type=range])";

  document.addEventListener("keydown", (event) => {
    const target = event.target;
    const isOther = [...document.querySelectorAll("dialog[open]")].some((dialog) => dialog !== viewer);
    if (isOther || event.ctrlKey || event.metaKey || event.altKey || target.matches(TYPED_INTO)) {
      return;
    }
    if (target.matches("[type=radio], [type=range]") && /^(Arrow|Home|End)/.test(event.key)) {
      return;
    }
    if (event.key === " " && target.closest("button:not([data-do=play]), summary, a")) {
      return;
    }
    const act = (viewer.open ? plays : moves)[event.key] ?? keys.get(event.key);
    if (act) {
      event.preventDefault();
      act();
    } else if (viewer.open && players[Number(event.key) - 1]) {
      select(Number(event.key) - 1);
    }
  });

  // -- the timeline -------------------------------------------------------------------------------------------

  const timeline = $("#timeline");
  const timed = own.filter((clip) => clip.times);
  const endOf = (clip) => Math.max(...clip.times.filter((time) => time !== null));
  timeline.hidden = !timed.length;

  function drawTimeline() {
    const first = Math.min(...timed.map((clip) => clip.times[0]));
    const span = Math.max(...timed.map(endOf)) - first || 1;
    const lanes = [];
    const svg = $(".slots", timeline);
    const paths = { queue: "", render: "", download: "" };
    const box = (kind, from, until, lane, high) => {
      const x = ((from - first) / span) * 1000;
      paths[kind] += `M${x} ${lane * 16 + 2}h${Math.max(((until - from) / span) * 1000, 0.5)}v${high}H${x}z`;
    };
    for (const clip of [...timed].sort((one, other) => one.times[0] - other.times[0])) {
      const [submitted, started, rendered, here] = clip.times;
      const free = rendered ?? here ?? started ?? submitted;
      let lane = lanes.findIndex((until) => until <= submitted);
      lane = lane < 0 ? lanes.length : lane;
      lanes[lane] = free;
      clip.lane = lane;
      box("queue", submitted, started ?? free, lane, 12);
      if (started !== null) {
        box("render", started, free, lane, 12);
      }
      if (rendered !== null && here !== null) {
        box("download", rendered, here, lane, 4);
      }
    }
    svg.setAttribute("viewBox", `0 0 1000 ${lanes.length * 16}`);
    svg.style.height = `${lanes.length}rem`;
    svg.setAttribute("aria-label", `${timed.length} clips on ${lanes.length} slots in ${(span / 1000).toFixed(1)} seconds`);
    for (const [kind, path] of Object.entries(paths)) {
      $(`path.${kind}`, svg).setAttribute("d", path);
    }
    const [left, right] = timeline.querySelectorAll(".scale span");
    left.textContent = new Date(first).toISOString().slice(11, 19);
    right.textContent = `${new Date(first + span).toISOString().slice(11, 19)} UTC`;
    const clipAt = (event) => {
      const time = first + (event.offsetX / svg.clientWidth) * span;
      const lane = Math.floor((event.offsetY / svg.clientHeight) * lanes.length);
      return timed.findLast((clip) => clip.lane === lane && clip.times[0] <= time && time <= endOf(clip));
    };
    svg.addEventListener("pointermove", (event) => ($(".scale output", timeline).textContent = clipAt(event)?.id ?? ""));
    svg.addEventListener("click", (event) => clipAt(event) && open(clipAt(event)));
  }

  timeline.addEventListener("toggle", () => timeline.open && drawTimeline(), { once: true });

  // -- begin --------------------------------------------------------------------------------------------------

  search.addEventListener("input", update);
  sort.addEventListener("change", update);
  $(".tools").addEventListener("submit", (event) => event.preventDefault());
  $("#clear").addEventListener("click", clear);
  $("#help-button").addEventListener("click", showHelp);
  addEventListener("beforeprint", () => {
    put(shown);
    document.querySelectorAll("details.more:not([hidden])").forEach((each) => (each.open = true));
    grid.querySelectorAll("img").forEach((image) => (image.loading = "eager"));
  });
  addEventListener("afterprint", () => draw(first));
  update();

  return { data, own, make, usd, keys, told, watchers, current, refresh, recount: fitting };
})();
