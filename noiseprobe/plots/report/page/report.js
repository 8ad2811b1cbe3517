// Draws the curves, and lets the slider move the cursor in them and choose the pictures.
const given = document.getElementById("charts");
const specs = given ? JSON.parse(given.textContent) : {};
const dark = matchMedia("(prefers-color-scheme: dark)");
const slider = document.getElementById("checkpoint");
const reading = document.getElementById("reading");
const drawn = [...document.querySelectorAll(".step")];
const steps = drawn.map((each) => Number(each.dataset.step));
const following = []; // the views that have a cursor

async function draw(name, spec) {
  const place = document.getElementById(name);
  const options = {
    ast: true, // expressions are interpreted: this page forbids eval
    renderer: "svg",
    actions: false,
    tooltip: { theme: dark.matches ? "dark" : "light" },
  };
  const { view } = await vegaEmbed(place, spec, options);
  place.querySelector("svg").setAttribute("aria-hidden", "true"); // `place` has words for it all
  if (!slider || !spec.params?.some((each) => each.name === "cursor")) return;
  following.push(view);
  view.addEventListener("click", (event, item) => choose(stepAt(view, spec, event, item, place)));
}

function stepAt(view, spec, event, item, place) {
  if (item?.datum && "step" in item.datum) return item.datum.step;
  if (spec.usermeta.over !== "step") return undefined;
  const left = place.querySelector("svg").getBoundingClientRect().left;
  return view.scale("x").invert(event.clientX - left - view.origin()[0]);
}

function choose(step) {
  if (step === undefined) return;
  const away = steps.map((each) => Math.abs(each - step));
  slider.value = away.indexOf(Math.min(...away));
  follow();
}

function follow() {
  const place = Number(slider.value);
  drawn.forEach((each, index) => { each.hidden = index !== place; });
  reading.textContent = drawn[place].dataset.reading;
  slider.setAttribute("aria-valuetext", drawn[place].dataset.reading);
  for (const view of following) view.signal("cursor", steps[place]).runAsync();
}

if (slider) slider.addEventListener("input", follow);
await Promise.all(Object.entries(specs).map(([name, spec]) => draw(name, spec)));
if (slider) follow(); // the browser may have kept where it was
document.documentElement.dataset.ready = "yes";
