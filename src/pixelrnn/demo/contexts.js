// A grid of cells for each kind of layer. We send the pixel under the pointer to the server, which answers with the
// pixels that it sees. There is one request at a time; the last pixel wins.
const grids = [...element.querySelectorAll(".cells")];
const counts = element.querySelectorAll(".count");
const [height, width] = props.size;
for (const grid of grids) grid.append(...Array.from({ length: height * width }, () => document.createElement("i")));

function show({ at, seen }) {
  const pixel = at[0] * width + at[1];
  grids.forEach((grid, k) => {
    const those = new Set(seen[k]);
    [...grid.children].forEach((cell, p) => {
      cell.className = p === pixel ? "pixel" : p > pixel ? "later" : those.has(p) ? "seen" : "earlier";
    });
    counts[k].textContent = `${those.size} of ${pixel} earlier pixels`;
  });
}

let wanted = null, asking = false;
async function ask(at) {
  wanted = at;
  if (asking) return;
  asking = true;
  try {
    while (wanted) {
      const now = wanted;
      wanted = null;
      show({ at: now, seen: await server.contexts(now) });
    }
  } finally {
    asking = false;
  }
}

show(props.value);
for (const grid of grids)
  grid.addEventListener("pointerover", (event) => {
    const pixel = [...grid.children].indexOf(event.target);
    if (pixel >= 0) ask([Math.floor(pixel / width), pixel % width]);
  });
