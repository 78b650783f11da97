// Images as canvases, pixel by pixel. Without tools, a click selects an image. With tools, the user draws and erases:
// the first image is the picture, with erased pixels below 0, and the second, if any, its completion. We show the last.
const box = element.querySelector(".pictures"), canvases = box.getElementsByTagName("canvas");
const tools = element.querySelector(".tools"), outline = element.querySelector("path");
const pen = element.querySelector("input[type=color]"); // for RGB
const empty = 220; // LIGHT, as in the contexts

// The number of a pixel has its channels' levels as digits in base `levels`, red first; it is below 0 if erased.
function colour(number) {
  if (number < 0) return [empty, empty, empty];
  const digits = [];
  for (let c = 0; c < props.channels; c++, number = Math.floor(number / props.levels))
    digits.unshift(Math.round((255 * (number % props.levels)) / (props.levels - 1)));
  return props.channels === 1 ? [...digits, ...digits, ...digits] : digits;
}

// The number of the pen's colour, which is white for grey images.
function ink() {
  const all = parseInt(pen.value.slice(1), 16);
  const bytes = props.channels === 1 ? [255] : [all >> 16, (all >> 8) & 255, all & 255];
  return bytes.reduce((number, byte) => number * props.levels + Math.round((byte * (props.levels - 1)) / 255), 0);
}

function show() {
  (tools ? props.value.slice(-1) : props.value).forEach((image, n) => {
    const canvas = canvases[n] ?? box.appendChild(document.createElement("canvas"));
    const [height, width] = [image.length, image[0].length];
    Object.assign(canvas, { height, width });
    const pixels = new ImageData(width, height);
    image.flat().forEach((number, p) => pixels.data.set([...colour(number), 255], 4 * p));
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  });
  if (tools) outline.setAttribute("d", edges(props.value[0]));
}

// The edges between kept and erased pixels, as an SVG path.
function edges(image) {
  const erased = image.map((row) => row.map((number) => number < 0));
  const path = [];
  erased.forEach((row, i) =>
    row.forEach((here, j) => {
      if (i && here !== erased[i - 1][j]) path.push(`M${j} ${i}h1`);
      if (j && here !== row[j - 1]) path.push(`M${j} ${i}v1`);
    })
  );
  return path.join("");
}

// Row and column under the pointer, as fractions of a pixel.
function under(event) {
  const canvas = canvases[0], place = canvas.getBoundingClientRect();
  const row = ((event.clientY - place.top) / place.height) * canvas.height;
  return [row, ((event.clientX - place.left) / place.width) * canvas.width];
}

// Draws a number on the pixels [i, j] of a place, or erases them if it is below 0. The pen also draws on a completion,
// whose pixels can still be drawn again. The eraser makes the completion the picture: only what it erases is drawn
// again.
function paint(place, number) {
  const images = number < 0 ? props.value.slice(-1) : props.value;
  props.value = images.map((image) => image.map((row, i) => row.map((old, j) => (place(i, j) ? number : old))));
  show();
}

// Draws on or erases the pixels under a tool that moves from one place to another.
function stroke([y, x], [toY, toX]) {
  const [dy, dx] = [toY - y, toX - x];
  const erasing = tools.querySelector(":checked").value === "eraser";
  // The pen is as wide as the strokes of MNIST. Both reach the centre of the pixel under the pointer.
  const radius = Math.max(props.value[0].length / (erasing ? 10 : 24), 0.71);
  const near = (i, j) => {
    const [p, q] = [i + 0.5 - y, j + 0.5 - x];
    const t = Math.min(Math.max((p * dy + q * dx) / (dy * dy + dx * dx || 1), 0), 1);
    return Math.hypot(p - t * dy, q - t * dx) < radius;
  };
  paint(near, erasing ? -1 : ink());
}

show();
watch("value", show);
if (tools) {
  const { height, width } = canvases[0];
  pen.hidden = props.channels === 1;
  outline.parentNode.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const [rows, columns] = [height, width].map((n) => Math.floor(n / 2));
  const halves = {
    top: (i) => i < rows,
    bottom: (i) => i >= rows,
    left: (i, j) => j < columns,
    right: (i, j) => j >= columns,
  };
  tools.addEventListener("click", (event) => {
    const half = halves[event.target.value];
    if (half) paint(half, -1);
  });
  let last = null;
  box.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button) return; // a second finger, or another button of the mouse
    box.setPointerCapture(event.pointerId);
    last = under(event);
    stroke(last, last);
  });
  box.addEventListener("pointermove", (event) => {
    if (last && event.isPrimary) stroke(last, (last = under(event)));
  });
  box.addEventListener("lostpointercapture", () => (last = null));
} else {
  box.addEventListener("click", (event) => {
    const index = [...canvases].indexOf(event.target);
    if (index >= 0) trigger("select", { index });
  });
}
