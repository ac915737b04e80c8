"""How `lmtool explain --html` looks, and what it does when it is pointed at."""

STYLE = """\
:root { --deep: #2f7fd6; --against: #e0701c; --mark: #b3261e; --text: #14508f; --con: #9a4a0c;
  --rule: #e3e3e3; --chip: #f1f1f1; }
@media (prefers-color-scheme: dark) {
  :root { --deep: #3d8fe8; --against: #d9742b; --mark: #ffb4a9; --text: #9cc8ff; --con: #ffb67d;
    --rule: #33373f; --chip: #24272e; }
}
body { font: 16px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1rem 1.2rem 9rem; }
h1 { font-size: 1.45rem; line-height: 1.3; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 48rem; } [hidden] { display: none !important; }
b { font-weight: inherit; unicode-bidi: isolate; } em { font-style: normal; font-weight: 600; }
h1 b, h2 b, p b, legend b, .grid b, .neurons b, #tip bdi { font-family: var(--mono); }
p > b, h1 b, h2 b, .neurons td b { background: var(--chip); border-radius: 3px;
  padding: 0 .25em; }
p > b, h1 b, h2 b, .neurons b, #pick b { display: inline-block; max-width: 14em; overflow: hidden;
  text-overflow: ellipsis; white-space: pre; vertical-align: bottom; }
.up { color: var(--text); font-weight: 600; } .down { color: var(--con); font-weight: 600; }
fieldset { border: 0; padding: 0; margin: .6rem 0; } legend { padding: 0; color: var(--faint); }
.by label { display: block; }
#pick label { display: inline-block; margin: .2rem .3rem .2rem 0; border: 1px solid var(--line);
  border-radius: 4px; padding: 0 .5em; font-family: var(--mono); cursor: pointer; }
#pick input { position: absolute; opacity: 0; }
#pick label:has(:checked) { background: var(--ink); color: var(--page); }
#pick label:has(:checked) u { color: inherit; }
#pick label:has(:focus-visible) { outline: 2px solid var(--deep); outline-offset: 2px; }
.text { font: 1.15rem/2 var(--mono); max-width: none; white-space: break-spaces;
  overflow-wrap: anywhere; tab-size: 4; max-height: 24rem; overflow-y: auto; padding: .2rem; }
.words b { border-radius: 3px; padding: .2em 0; font-family: inherit;
  background-color: color-mix(in srgb, var(--deep) calc(var(--x) * 75%), transparent);
  background-image: linear-gradient(
    color-mix(in srgb, var(--against) calc(var(--y) * 75%), transparent) 0 100%); }
.words b { --y: 0; --x: var(--brought); unicode-bidi: normal; }
.words[data-by="back"] b { --x: var(--back); }
.words[data-by="adds"] b { --x: max(0, var(--adds)); --y: max(0, -1 * var(--adds)); }
.text .answer { display: inline; white-space: break-spaces; border: 2px solid var(--ink);
  background: none; padding: .1em .2em; }
.more { color: var(--faint); }
.legend { list-style: none; padding: 0; margin: .5rem 0; display: flex; flex-wrap: wrap;
  gap: .2rem 1.6rem; font-size: .9rem; color: var(--faint); }
.k { padding: 0 .35em; color: var(--ink); }
.box { overflow: auto; max-height: 82vh; border: 1px solid var(--line); border-radius: 4px;
  scroll-padding: 2.6rem 1rem 2.6rem 9rem; width: fit-content; max-width: 100%; }
.grid { border-collapse: separate; border-spacing: 0; font-size: .85rem; line-height: 1.25; }
.grid th, .grid td { padding: .2rem .45rem; text-align: center; min-width: 3.4rem;
  border: solid var(--rule); border-width: 0 1px 1px 0; }
.grid b { display: block; max-width: 8.5rem; overflow: hidden; text-overflow: ellipsis;
  white-space: pre; font-size: .9rem; }
.grid small { color: var(--faint); } .grid td { cursor: default; }
.grid tbody td { color: var(--ink);
  background: color-mix(in srgb, var(--deep) calc(var(--p) * 72%), var(--page)); }
.grid tbody td small { color: inherit; opacity: .75; }
.grid thead th, .grid tfoot th, .grid tfoot td, .grid tbody th { background: var(--chip);
  position: sticky; z-index: 1; font-weight: 400; }
.grid thead th { top: 0; } .grid tfoot th, .grid tfoot td { bottom: 0; }
.grid thead th b { font-weight: 600; }
.grid th:first-child { left: 0; text-align: right; white-space: nowrap; z-index: 2; }
.grid th[scope="row"] { color: var(--faint); } .grid tr > th[scope="row"]:first-child { left: 0; }
.grid thead th:first-child, .grid tfoot th:first-child { z-index: 3; }
.grid tbody tr:last-child > * { border-bottom: 2px solid var(--ink); }
.grid th[data-pick] { cursor: pointer; text-decoration: underline; }
.grid .sel { border-left: 2px solid var(--ink); border-right: 2px solid var(--ink); }
.s b, b.s { font-weight: 700; }
.r small::after { content: " \\2713"; font-weight: 700; } b.r::after { content: " \\2713"; }
td.lead, b.lead { box-shadow: inset 0 0 0 3px var(--mark); }
.on, .grid td:focus, .words b:focus, tr:focus { outline: 2px solid var(--ink);
  outline-offset: -2px; }
.wide { overflow-x: auto; } .sum, .neurons { border-collapse: collapse; font-size: .92rem; }
.sum th, .neurons th { font-weight: 400; text-align: left; padding: .15rem .9rem .15rem 0;
  white-space: nowrap; color: var(--faint); }
.sum thead th, .neurons thead th:nth-child(3) { text-align: center; }
.sum td, .neurons td { padding: .12rem .9rem .12rem 0; }
.sum small { display: block; } .n { text-align: right; font-variant-numeric: tabular-nums; }
.sum tbody tr:last-child .n { font-weight: 700; border-top: 1px solid var(--ink); }
.bar { display: block; position: relative; height: 1.35rem; line-height: 1.35rem;
  font-variant-numeric: tabular-nums; color: var(--ink); font-weight: 400; text-align: right;
  background: linear-gradient(var(--line) 0 0) 50% / 1px 100% no-repeat; }
.bar { --half: 8.5rem; width: calc(2 * var(--half)); box-sizing: border-box;
  padding-right: calc(var(--half) + .4em); }
.neurons .bar { --half: 7rem; } .neurons td { white-space: nowrap; }
.sum td[colspan] .bar { margin: 0 auto; }
.bar.down { text-align: left; padding: 0 0 0 calc(var(--half) + .4em); }
.bar::before { content: ""; position: absolute; top: .15rem; bottom: .15rem; left: 50%;
  width: calc(var(--v) * 50%); min-width: 1px; background: var(--deep); }
.bar.down::before { left: auto; right: 50%; background: var(--against); }
@media (max-width: 44rem) { .bar, .neurons .bar { --half: 4rem; } }
#tip { position: fixed; z-index: 9; max-width: min(26rem, 92vw); padding: .5rem .8rem;
  background: var(--box); border: 1px solid var(--ink); border-radius: 5px; font-size: .9rem;
  box-shadow: 0 3px 14px #0005; line-height: 1.4; pointer-events: none; }
#tip div { margin: .15rem 0; overflow-wrap: anywhere; } #tip .head { font-weight: 600; }
#tip .guess { display: grid; grid-template-columns: minmax(5rem, 11rem) 7rem 4rem; gap: .5rem; }
#tip .guess bdi { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
#tip .guess span { text-align: right; } #tip .share { align-self: center; }
#tip .share { height: .7rem; background: linear-gradient(var(--deep) 0 0) 0 / var(--w) no-repeat; }
"""

TELLING = """\
const signed = value => (value < 0 ? "\\u2212" : "+") + Math.abs(value).toFixed(2);
const percent = share => share >= .0005 ? (100 * share).toFixed(1) + "%" : "<0.1%";
const token = (data, id) => ({ token: data.texts[id] });

/* What is told is a list of lines: a heading, a guess with its share, or words. */
function tellCell(data, at, height) {
  const [read, following, number, views] = data.columns[at];
  const [rank, chance, guesses] = views[height];
  const where = height ? "After layer " + (height - 1) : "On the embedding, before any layer";
  const lines = [{ head: [where + ", what comes after ", token(data, read), " would be:"] }];
  for (let i = 0; i < guesses.length; i += 2)
    lines.push({ guess: token(data, guesses[i]), share: guesses[i + 1] });
  const which = number === null ? "What really comes next, " : "The answer, ";
  const place = ", is in place " + rank.toLocaleString("en") + " here: " + percent(chance);
  lines.push({ words: [which, token(data, following), place] });
  if (number !== null && height) lines.push(...tellLayer(data, number, height - 1));
  return lines;
}
function tellLayer(data, number, layer) {
  const story = data.stories[number], [attention, mlp, heads, experts] = story.layers[layer];
  const added = "attention added " + signed(attention) + " and its MLP " + signed(mlp);
  const lines = [{ words: ["In layer " + layer + ", " + added + " to the score of ",
    token(data, story.answer)] }];
  const strongest = heads.map((logit, head) => [logit, head])
    .sort((a, b) => Math.abs(b[0]) - Math.abs(a[0])).slice(0, 8)
    .map(([logit, head]) => head + " (" + signed(logit) + ")");
  const most = strongest.length < heads.length ? "Its strongest attention heads: " :
    "Its attention heads: ";
  lines.push({ words: [most + strongest.join(", ")] });
  if (experts.length) lines.push({ words: ["Its experts, with their weights: " + experts
    .map(([name, weight, logit]) => name + " " + percent(weight) + " (" + signed(logit) + ")")
    .join(", ")] });
  return lines;
}
function tellWord(data, number, at) {
  const story = data.stories[number], [word, brought, back, adds] = story.words[at];
  return [{ head: [{ token: word }] },
    { words: [percent(brought) + " of what attention brought came straight from here"] },
    { words: [percent(back) + " of its attention leads back to here in the end"] },
    { words: ["What was brought adds " + signed(adds) + " to the score of ",
      token(data, story.answer)] }];
}
"""

SCRIPT = """\
const tip = document.getElementById("tip"), box = document.querySelector(".box");
const grid = document.querySelector(".grid"), all = query => [...document.querySelectorAll(query)];
const TOLD = ".grid tbody td, .words b, tr[data-layer]";
let on = null, kept = false, pressed = false;

function linesOf(element) {
  const row = element.parentNode;
  if (element.matches(".grid td")) return tellCell(data, element.cellIndex - 1,
    row.sectionRowIndex);
  const number = Number(element.closest("[data-of]").dataset.of);
  if (element.matches("tr")) return tellLayer(data, number, Number(element.dataset.layer));
  return tellWord(data, number, Array.prototype.indexOf.call(row.children, element));
}
function add(parent, name, kind, parts) {
  const element = parent.appendChild(document.createElement(name));
  if (kind) element.className = kind;
  for (const part of parts) {
    if (typeof part === "string") element.append(part);
    else element.appendChild(document.createElement("bdi")).textContent = part.token;
  }
  return element;
}
function draw(line) {
  if (line.head) add(tip, "div", "head", line.head);
  if (line.words) add(tip, "div", "", line.words);
  if (!line.guess) return;
  const row = add(tip, "div", "guess", [line.guess]);
  add(row, "div", "share", []).style.setProperty("--w", 100 * line.share + "% 100%");
  add(row, "span", "", [percent(line.share)]);
}
function place() {
  const near = on.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const below = near.bottom + 8, above = near.top - own.height - 8;
  const fits = below + own.height < innerHeight || above < 0;
  tip.style.top = Math.max(4, Math.min(fits ? below : above, innerHeight - own.height - 4)) + "px";
  tip.style.left = Math.max(4, Math.min(near.left, innerWidth - own.width - 8)) + "px";
}
function tell(element) {
  if (on) on.classList.remove("on");
  on = element;
  tip.replaceChildren();
  tip.hidden = !element;
  if (!element) { kept = false; return; }
  element.classList.add("on");
  linesOf(element).forEach(draw);
  place();
}
function pick(number) {
  tell(null);
  for (const part of all("[data-of]")) part.hidden = Number(part.dataset.of) !== number;
  for (const radio of all("#pick input")) radio.checked = Number(radio.value) === number;
  for (const cell of all(".grid .sel")) cell.classList.remove("sel");
  const at = data.stories[number].column + 1;
  for (const row of grid.rows) row.cells[at].classList.add("sel");
  for (const text of all(".text")) text.scrollTop = text.scrollHeight;
  const cell = grid.rows[0].cells[at];
  box.scrollLeft = cell.offsetLeft + cell.offsetWidth - box.clientWidth;
}
function colour(radio) {
  radio.closest("section").querySelector(".words").dataset.by = radio.value;
}
/* One element of a group is reached by Tab, the others from there by the arrow keys. */
function group(element) {
  if (element.closest(".grid")) return all(".grid tr > :not(:first-child)");
  const within = element.closest("[data-of]");
  return [...within.querySelectorAll(element.matches("tr") ? "tr[data-layer]" : ".words b")];
}
function reached(element, key) {
  if (element.closest(".grid")) {
    const rows = [...grid.rows], row = rows.indexOf(element.parentNode), at = element.cellIndex;
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1],
      ArrowRight: [0, 1], Home: [0, 1 - at], End: [0, data.columns.length - at] }[key];
    const next = rows[row + down];
    return next && at + right > 0 ? next.cells[at + right] : null;
  }
  const members = group(element), at = members.indexOf(element), last = members.length - 1;
  return members[{ ArrowUp: at - 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowRight: at + 1,
    Home: 0, End: last }[key]];
}
function roam(element) {
  for (const member of group(element)) member.tabIndex = -1;
  element.tabIndex = 0;
}
document.addEventListener("pointerdown", () => { pressed = true; });
document.addEventListener("keydown", event => {
  pressed = false;
  if (event.key === "Escape") tell(null);
  const element = event.target.closest(TOLD + ", .grid th, .grid td");
  if (!element) return;
  if (event.key === "Enter" && element.dataset.pick) pick(Number(element.dataset.pick));
  if (!/^(Arrow.*|Home|End)$/.test(event.key)) return;
  event.preventDefault();
  const next = reached(element, event.key);
  if (next) { roam(next); next.focus(); }
});
document.addEventListener("focusin", event => {
  if (pressed) return; // what a click does is told below
  if (event.target.matches(TOLD)) { kept = true; tell(event.target); } else tell(null);
});
document.addEventListener("pointerover", event => {
  if (event.pointerType === "mouse" && !kept) tell(event.target.closest(TOLD));
});
document.addEventListener("click", event => {
  const header = event.target.closest("[data-pick]");
  if (header) { pick(Number(header.dataset.pick)); return; }
  const element = event.target.closest(TOLD), again = kept && element === on;
  kept = element !== null && !again;
  tell(again ? null : element);
  if (element) roam(element);
});
document.addEventListener("change", event => {
  if (event.target.name === "of") pick(Number(event.target.value));
  else colour(event.target);
});
addEventListener("scroll", () => { if (on) place(); }, true);
addEventListener("resize", () => tell(null));
if (grid) {
  for (const words of all(".words")) words.firstElementChild.tabIndex = 0;
  for (const row of all("tr[data-layer]")) row.tabIndex = row.dataset.layer === "0" ? 0 : -1;
  all(".by input:checked").forEach(colour); // a browser may remember another than the first
  pick(0);
  roam(grid.tBodies[0].rows[grid.tBodies[0].rows.length - 1].cells[data.stories[0].column + 1]);
}
"""
