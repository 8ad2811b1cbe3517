// Shows one pair after the other, keeps every answer, and gives them as a CSV file at the end.
const { survey, form, ties, pictures, questions } = JSON.parse(document.getElementById("data").textContent);
const of = (id) => document.getElementById(id);
const sections = ["start", "ask", "end"].map(of);
const choices = [...document.querySelectorAll(".choice")];
const KEYS = { ArrowLeft: "left", 1: "left", ArrowRight: "right", 2: "right", ArrowDown: "tie", 0: "tie" };
const CODE = /^[A-Za-z0-9_.-]{1,40}$/;
const GIVEN = ["rater", "PROLIFIC_PID", "workerId", "participant"]; // what crowd platforms put in links
const SHORTEST = 300; // ms before a key counts: one that is held down answers nothing
let rater = "", place = 0, shown = 0, saved = true;
let answers = {}; // by token: [answer, seconds]

const store = () => `noiseprobe-survey/${survey}/${form}/${rater}`;

function keep() {
  try { localStorage.setItem(store(), JSON.stringify(answers)); } catch { /* private windows have no store */ }
}

function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(store())) ?? {};
    return Object.fromEntries(questions.filter(({ token }) => Array.isArray(found[token])).map(({ token }) => [token, found[token]]));
  } catch { return {}; }
}

function show(id) {
  for (const each of sections) each.hidden = each.id !== id;
}

function begin() {
  rater = of("rater").value.trim();
  if (!CODE.test(rater)) {
    of("wrong").textContent = "Please give your code: letters, digits, and . _ - alone, without spaces.";
    of("rater").focus();
    return;
  }
  answers = kept();
  const open = questions.findIndex(({ token }) => !(token in answers));
  ask(open === -1 ? questions.length : open);
}

function ask(next) {
  place = next;
  if (place === questions.length) return end();
  const { token, left, right, prompt, references } = questions[place];
  of("left").src = pictures[left];
  of("right").src = pictures[right];
  of("prompt").hidden = !prompt;
  of("prompt").textContent = prompt;
  of("references").hidden = !references.length;
  of("references").replaceChildren(...references.map((each, index) => {
    const image = new Image();
    image.src = pictures[each];
    image.alt = `Photograph ${index + 1} of the object`;
    return image;
  }));
  of("progress").value = Object.keys(answers).length;
  of("place").textContent = `${place + 1} of ${questions.length}`;
  of("back").disabled = place === 0;
  for (const each of choices) each.setAttribute("aria-pressed", String(answers[token]?.[0] === each.dataset.answer));
  show("ask");
  of("question").focus({ preventScroll: true });
  shown = performance.now();
}

function answer(given) {
  const { token } = questions[place];
  const before = answers[token]?.[1] ?? 0;
  answers[token] = [given, Math.round(10 * before + (performance.now() - shown) / 100) / 10];
  saved = false;
  keep();
  ask(place + 1);
}

function end() {
  show("end");
  of("done").focus();
}

function save() {
  const rows = questions.map(({ token }) => [survey, form, rater, token, ...answers[token]].join(","));
  const text = ["survey,form,rater,question,answer,seconds", ...rows, ""].join("\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = `answers-${form}-${rater}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  saved = true;
  of("saved").textContent = `Saved as ${link.download}, where your browser puts downloads.`;
}

of("begin").addEventListener("click", begin);
of("rater").addEventListener("keydown", (event) => { if (event.key === "Enter") begin(); });
of("back").addEventListener("click", () => ask(place - 1));
of("again").addEventListener("click", () => ask(questions.length - 1));
of("save").addEventListener("click", save);
for (const each of choices) {
  each.addEventListener("click", (event) => {
    if (event.detail < 2) answer(each.dataset.answer); // the second click of two would answer the next pair
  });
}
addEventListener("keydown", (event) => {
  if (of("ask").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const given = KEYS[event.key];
  if (event.key === "Backspace" && place > 0) ask(place - 1);
  else if (given && (given !== "tie" || ties) && performance.now() - shown > SHORTEST) answer(given);
  else return;
  event.preventDefault();
});
addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });

const asked = new URLSearchParams(location.search);
of("rater").value = GIVEN.map((each) => asked.get(each)).find((each) => each && CODE.test(each)) ?? "";
show("start");
document.documentElement.dataset.ready = "yes";
