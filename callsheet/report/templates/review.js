"use strict";

// Judging, on the page that `callsheet review` serves. A verdict is shown at once and saved at once; where it
// could not be saved, the clip shows again what the server knows, and the page says why.
(() => {
  const { data, own, make, usd, keys, told, watchers, current, refresh, recount } = page;
  const $ = (selector, root = document) => root.querySelector(selector);
  const review = data.review;
  const NAME = "callsheet-reviewer";
  const WORDS = { keep: ["Keep", "k"], retake: ["Retake", "r"], reject: ["Reject", "x"] };
  const edit = $("#edit");
  const who = $("#who");
  const trouble = $("#trouble");
  const edited = []; // files in which edits of selection.csv were kept
  let name = "";
  let saving = Promise.resolve();

  try {
    name = localStorage.getItem(NAME) ?? "";
  } catch {
    // a browser without storage asks once for each visit
  }

  // -- who ----------------------------------------------------------------------------------------------------

  function asked(dialog, focused) {
    dialog.returnValue = "";
    dialog.showModal();
    focused.focus();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "save"), { once: true });
    });
  }

  async function named(isAsking = !name) {
    if (isAsking) {
      $("#who-input").value = name;
      if (await asked(who, $("#who-input"))) {
        name = $("#who-input").value.trim();
        try {
          localStorage.setItem(NAME, name);
        } catch {
          // kept for this visit
        }
        $("#me").textContent = name;
      }
    }
    return name;
  }

  // -- judging ------------------------------------------------------------------------------------------------

  const canJudge = (clip) => clip && !("other" in clip) && clip.job > 0 && !["open", "skipped"].includes(clip.group);
  const seen = (clip) => clip.reviews.at(-1)?.review ?? 0;
  const bought = new Set(review.bought); // jobs whose last retake was bought
  const isBought = (clip) => clip.verdict === "retake" && bought.has(clip.job);
  const lastOrder = (clip) => clip.reviews.filter((each) => each.verdict === "retake").at(-1)?.changes ?? {};

  function remember(clip, retake, wasBought = retake ? retake.bought : bought.has(clip.job)) {
    review.retakes[clip.job] = retake;
    bought[wasBought ? "add" : "delete"](clip.job);
  }

  async function judge(clip, said) {
    if (!canJudge(clip) || !(await named())) {
      return "";
    }
    const before = { verdict: clip.verdict, note: clip.note };
    const known = [review.retakes[clip.job], bought.has(clip.job)];
    if (said.verdict === "retake") {
      remember(clip, null, false); // what is ordered now is not bought
    }
    Object.assign(clip, said.verdict === undefined ? { note: said.note } : { verdict: said.verdict, note: said.note });
    refresh(clip);
    const saved = saving.then(() => save(clip, said, before, known));
    saving = saved;
    return saved;
  }

  async function save(clip, said, before, known) {
    const reply = await post({ job: clip.job, by: name, seen: seen(clip), ...said });
    if (reply.review) {
      clip.reviews.push(reply.review);
      const { verdict, note } = reply.review;
      Object.assign(clip, { verdict, note });
      remember(clip, reply.retake);
      tell(reply.tally);
      edited.push(...(reply.edited ? [reply.edited] : []));
      trouble.textContent = edited.length ? `selection.csv had been edited. Your edits are in ${edited.join(", ")}.` : "";
    } else {
      Object.assign(clip, before);
      remember(clip, ...known);
      if (reply.reviews) {
        const last = reply.reviews.at(-1);
        Object.assign(clip, { reviews: reply.reviews, verdict: last.verdict, note: last.note });
        remember(clip, reply.retake);
      }
      trouble.textContent = `${clip.id}: not saved. ${reply.error}`;
    }
    refresh(clip);
    recount();
    return reply.error ?? "";
  }

  async function post(body) {
    try {
      const reply = await fetch("judge", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      return await reply.json();
    } catch {
      return { error: "The review has ended, or its server cannot be reached. Start `callsheet review` again." };
    }
  }

  // The same verdict again takes it back. Where the retake was bought, it orders one more.
  function set(verdict, clip = current()) {
    if (canJudge(clip)) {
      const isAgain = clip.verdict === verdict && !(verdict === "retake" && isBought(clip));
      judge(clip, { verdict: isAgain ? "" : verdict, note: clip.note });
    }
  }

  async function change(focused, clip = current()) {
    if (!canJudge(clip)) {
      return;
    }
    const known = lastOrder(clip);
    const fields = { note: $("#edit-note"), prompt: $("#edit-prompt"), model: $("#edit-model"), seed: $("#edit-seed") };
    $("#edit-name bdi").textContent = clip.id;
    fields.note.value = clip.note;
    fields.prompt.value = known.prompt ?? clip.prompt;
    const models = new Set([clip.model, ...(review.models[clip.task] ?? [])]);
    fields.model.replaceChildren(...[...models].map((model) => make("option", { textContent: model, value: model })));
    fields.model.value = known.model ?? clip.model;
    fields.seed.value = bought.has(clip.job) ? "" : (known.seed ?? "");
    const shown = ["prompt", "model", "seed"].map((each) => [fields[each], fields[each].value]);
    fill("");
    while (await asked(edit, fields[focused])) {
      const isNote = focused === "note" && shown.every(([field, value]) => field.value === value);
      const note = fields.note.value.trim();
      const said = isNote ? { note } : { verdict: "retake", note, changes: changesIn(fields, clip) };
      const error = await judge(clip, said);
      if (!error) {
        return;
      }
      fill(`Not saved. ${error}`);
    }
  }

  function changesIn(fields, clip) {
    const changes = {};
    if (fields.prompt.value.trim() && fields.prompt.value !== clip.prompt) {
      changes.prompt = fields.prompt.value;
    }
    if (fields.model.value !== clip.model) {
      changes.model = fields.model.value;
    }
    if (/^\d{1,10}$/.test(fields.seed.value.trim())) {
      changes.seed = Number(fields.seed.value);
    }
    return changes;
  }

  function fill(text) {
    $(".error", edit).textContent = text;
  }

  edit.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      $(".strong", edit).click();
    }
  });

  edit.addEventListener("submit", (event) => {
    const seed = $("#edit-seed").value.trim();
    if (seed && !(/^\d{1,10}$/.test(seed) && Number(seed) <= review.seed_max)) {
      event.preventDefault();
      fill(`The seed is ${seed}; use a whole number from 0 to ${review.seed_max}.`);
    }
  });

  // -- what is shown ------------------------------------------------------------------------------------------

  function buttons(clip, box) {
    if (!canJudge(clip)) {
      box.replaceChildren();
      return;
    }
    const choices = Object.entries(WORDS).map(([verdict, [word, key]]) => {
      const button = make("button", { type: "button", textContent: word, title: `${word} (${key})`, className: verdict });
      button.setAttribute("aria-pressed", String(clip.verdict === verdict));
      button.addEventListener("click", () => set(verdict, clip));
      return button;
    });
    const more = make("button", { type: "button", textContent: "Edit…", title: "Note, prompt, model or seed (n, e, m, s)" });
    more.addEventListener("click", () => change("note", clip));
    const retake = clip.verdict === "retake" ? review.retakes[clip.job] : null;
    const price = retake ? [make("p", { className: "retake", textContent: wordsOn(clip, retake) })] : [];
    const focused = [...box.children].indexOf(document.activeElement);
    box.replaceChildren(...choices, more, ...price);
    box.children[focused]?.focus({ preventScroll: true });
  }

  function wordsOn(clip, retake) {
    const { prompt, model } = lastOrder(clip);
    const cost = retake.bought ? "bought" : `at most ${usd(retake.maximum)}`;
    return [`${retake.id}: ${cost}`, ...(prompt ? ["another prompt"] : []), ...(model ? [model] : [])].join(", ");
  }

  watchers.push((clip, box = clip.card && $(".judge", clip.card)) => box && buttons(clip, box));

  function tell(tally) {
    const judged = Object.keys(WORDS).map((verdict) => `${tally[verdict]} ${verdict}`);
    const counts = [...judged, ...(tally.bought ? [`${tally.bought} retake bought`] : [])].join(" · ");
    const left = tally.left === null ? "" : `, ${usd(tally.left)} left under the nearest cap`;
    const cost = tally.retake ? `. Retakes cost at most ${usd(tally.maximum)}${left}` : "";
    $("#tally").textContent = `${counts}${cost}`;
  }

  const onCurrent = { k: "keep", r: "retake", x: "reject" };
  Object.entries(onCurrent).forEach(([key, verdict]) => keys.set(key, () => set(verdict)));
  Object.entries({ n: "note", e: "prompt", m: "model", s: "seed" }).forEach(([key, field]) => keys.set(key, () => change(field)));
  told.push(["k r x", "keep, retake, reject; again takes it back, r on a bought retake orders one more"], ["n", "note"], ["e m s", "retake with another prompt, model, seed"], ["Ctrl Enter", "save a note or a retake"]);
  $("#me").textContent = name || "Your name";
  $("#me").addEventListener("click", () => named(true));
  own.filter((clip) => clip.card).forEach(refresh);
  tell(review.tally);
})();
