"use strict";
// Everything that comes from the run is put in as text, never as markup.
(function () {
  const MARKS = ["keep", "drop", "unsure"];
  const KEYS = { k: "keep", d: "drop", u: "unsure", c: null };
  const get = (id) => document.getElementById(id);
  const filters = get("filters");
  const list = get("samples");
  let page = 0;
  let pages = 1;
  let asked = 0;
  let unit = "";

  async function call(path, body) {
    const how = body === undefined ? {} : {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    };
    let answer;
    try {
      answer = await fetch(path, how);
    } catch (error) {
      throw new Error("The view is no longer served; type 'curate view' again.");
    }
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    return content;
  }

  function say(text, bad) {
    get("said").textContent = text;
    get("said").className = bad ? "bad" : "";
  }

  function guarded(work) {
    return (...given) => Promise.resolve(work(...given)).catch((error) => say(error.message, true));
  }

  function text(number) {
    return number === null ? "not scored" : number.toFixed(4).replace("-", "−");
  }

  function number(count) {
    return count.toLocaleString("en");
  }

  function option(select, value, shown) {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = shown;
    select.append(made);
  }

  function fact(into, name, value, long) {
    const row = document.createElement("div");
    const term = document.createElement("dt");
    const said = document.createElement("dd");
    const apart = document.createElement("bdi");
    term.textContent = name;
    apart.textContent = value;
    said.append(apart);
    if (long) row.className = "long";
    row.append(term, said);
    into.append(row);
  }

  function facts(into, sample, long) {
    const error = sample.se === null ? "" : ` ± ${text(sample.se)}`;
    const score = sample.memorization === null ? "not scored"
      : `${text(sample.memorization)}${error} ${long ? unit : ""}`;
    fact(into, "score", score.trim());
    fact(into, "rank", sample.rank === null ? "–" : number(sample.rank));
    fact(into, "class", sample.class);
    if (long && sample.label !== sample.class) fact(into, "label", sample.label);
    if (sample.triage !== null) fact(into, "triage", sample.triage);
    if (sample.decision !== null) fact(into, "manifest", sample.decision);
    fact(into, "uid", sample.uid, !long);
    fact(into, "file", sample.path, !long);
  }

  function show(card, mark) {
    card.className = mark || "";
    card.dataset.mark = mark || "";
    for (const button of card.querySelectorAll(".choices button")) {
      button.setAttribute("aria-pressed", String(button.dataset.mark === mark));
    }
  }

  async function put(card, mark) {
    const found = await call("marks", { uids: [card.dataset.uid], mark });
    show(card, mark);
    counted(found.marks);
    say("");
  }

  function counted(marks) {
    get("marks").textContent = "Marked: " +
      MARKS.map((kind) => `${number(marks[kind])} ${kind}`).join(", ");
  }

  function enlarge(sample) {
    const image = get("large-image");
    image.src = `image/large/${sample.uid}`;
    image.alt = `image of class ${sample.class}`;
    image.onload = () => image.classList.toggle("exact", image.naturalWidth <= 64);
    get("large-facts").replaceChildren();
    facts(get("large-facts"), sample, true);
    get("near").replaceChildren();
    get("near-title").hidden = get("near-none").hidden = true;
    if (!get("large").open) get("large").showModal();
    get("large").scrollTop = 0;
    guarded(near)(sample);
  }

  async function near(sample) {
    get("near").dataset.of = sample.uid;
    const found = (await call(`neighbours/${sample.uid}`)).neighbours;
    // Another sample may have been asked for meanwhile.
    if (get("near").dataset.of !== sample.uid) return;
    get("near-title").hidden = !found || !found.length;
    get("near-none").hidden = Boolean(found && found.length);
    get("near-none").textContent = found ? "This image was not inspected."
      : "Type 'curate inspect' to see the nearest images here.";
    get("near").replaceChildren(...(found || []).map((other) => {
      const made = document.createElement("li");
      const button = document.createElement("button");
      const about = document.createElement("dl");
      button.type = "button";
      button.append(picture(other));
      button.setAttribute("aria-label", `enlarge rank ${other.rank}, class ${other.class}`);
      button.addEventListener("click", () => enlarge(other));
      fact(about, "distance", other.distance.toFixed(3));
      fact(about, "class", other.class);
      fact(about, "rank", other.rank === null ? "–" : number(other.rank));
      made.append(button, about);
      return made;
    }));
  }

  function picture(sample) {
    const image = document.createElement("img");
    image.loading = "lazy";
    image.width = image.height = 168;
    image.alt = `image of class ${sample.class}, score ${text(sample.memorization)}`;
    image.onload = () => image.classList.toggle("exact", image.naturalWidth <= 64);
    image.src = `image/small/${sample.uid}`;
    return image;
  }

  function card(sample) {
    const made = document.createElement("li");
    const image = picture(sample);
    const about = document.createElement("dl");
    const choices = document.createElement("div");
    made.tabIndex = 0;
    made.dataset.uid = sample.uid;
    made.setAttribute("aria-label", `rank ${sample.rank}, class ${sample.class}`);
    image.addEventListener("click", () => enlarge(sample));
    facts(about, sample, false);
    choices.className = "choices";
    for (const mark of MARKS) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = mark;
      button.dataset.mark = mark;
      button.textContent = mark;
      button.addEventListener("click", guarded(() => (
        put(made, made.dataset.mark === mark ? null : mark))));
      choices.append(button);
    }
    made.append(image, about, choices);
    made.addEventListener("keydown", (event) => key(event, made, sample));
    show(made, sample.mark);
    return made;
  }

  function key(event, made, sample) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const cards = Array.from(list.children);
    const wide = Math.max(1, cards.filter((c) => c.offsetTop === cards[0].offsetTop).length);
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: wide, ArrowUp: -wide };
    if (event.key in KEYS) {
      guarded(put)(made, KEYS[event.key]);
    } else if (event.key in steps) {
      const next = cards[cards.indexOf(made) + steps[event.key]];
      if (next) next.focus();
    } else if (event.key === "Enter" && event.target === made) {
      enlarge(sample);
    } else {
      return;
    }
    event.preventDefault();
  }

  function query() {
    const chosen = new URLSearchParams();
    for (const [name, value] of new FormData(filters)) if (value) chosen.set(name, value);
    chosen.set("page", String(page));
    return chosen;
  }

  async function load() {
    const mine = ++asked;
    const chosen = query();
    const found = await call(`samples?${chosen}`);
    if (mine !== asked) return;
    // So that a reload shows the same.
    history.replaceState(null, "", `?${chosen}`);
    pages = found.pages;
    list.replaceChildren(...found.samples.map(card));
    get("count").textContent = `${number(found.total)} samples`;
    get("place").textContent = `page ${number(found.page + 1)} of ${number(pages)}`;
    get("previous").disabled = page === 0;
    get("next").disabled = page + 1 >= pages;
    list.dataset.ready = String(mine);
  }

  function turn(by) {
    page = Math.max(0, Math.min(pages - 1, page + by));
    window.scrollTo(0, 0);
    return load();
  }

  async function save(event) {
    event.preventDefault();
    const form = new FormData(get("save"));
    const made = await call("manifest", { name: form.get("name"), base: form.get("base") });
    say(`Saved ${made.path}: ${number(made.kept)} kept, ${number(made.dropped)} dropped; ` +
      `${number(made.by_hand)} by hand.`);
    await known();
  }

  async function known() {
    const facts = await call("facts");
    for (const [select, first] of [[filters.elements.manifest, "none"],
                                   [get("save").elements.base, "keep"]]) {
      const before = select.value;
      select.replaceChildren();
      option(select, "", first);
      for (const name of facts.manifests) {
        option(select, name, select === filters.elements.manifest ? name : `as in ${name}`);
      }
      select.value = before;
    }
    counted(facts.marks);
    return facts;
  }

  async function close() {
    await call("close", {});
    document.body.inert = true;
    say("Closed. This tab can be closed, too.");
  }

  async function open() {
    const facts = await known();
    unit = facts.unit;
    document.title = `${facts.name} – curate view`;
    get("name").textContent = facts.name;
    get("unit").textContent = `(${unit})`;
    get("about").textContent = facts.lowest === null ? `${number(facts.total)} samples`
      : `${number(facts.total)} samples; scores ${text(facts.lowest)} to ${text(facts.highest)} ` +
        `(${unit}; higher = more memorized; ± standard error)`;
    if (facts.verdict.grade !== "ranking") {
      get("warning").textContent = `▲ ${facts.verdict.text}.`;
      get("warning").hidden = false;
    }
    for (const label of facts.labels) option(filters.elements.label, label.value, label.text);
    for (const name of facts.triage) option(filters.elements.triage, name, name);
    const before = new URLSearchParams(location.search);
    for (const [name, value] of before) {
      if (filters.elements[name]) filters.elements[name].value = value;
    }
    page = Number(before.get("page")) || 0;
    filters.addEventListener("input", guarded(() => { page = 0; return load(); }));
    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.addEventListener("reset", () => setTimeout(guarded(() => { page = 0; return load(); })));
    get("previous").addEventListener("click", guarded(() => turn(-1)));
    get("next").addEventListener("click", guarded(() => turn(1)));
    get("save").addEventListener("submit", guarded(save));
    get("close").addEventListener("click", guarded(close));
    await load();
  }

  guarded(open)();
})();
