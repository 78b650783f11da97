// Images as canvases, pixel by pixel. If props.rows is above 0, the user can draw on the first props.rows rows of the
// only image; otherwise a click selects an image.
const box = element.querySelector(".pictures");
const empty = 232; // LIGHT, as in the contexts

function show() {
  props.value.forEach((image, n) => {
    const canvas = box.children[n] ?? box.appendChild(document.createElement("canvas"));
    const [height, width] = [image.length, image[0].length];
    Object.assign(canvas, { height, width });
    const pixels = new ImageData(width, height);
    image.flat().forEach((level, p) => {
      const grey = level < 0 ? empty : Math.round((255 * level) / (props.levels - 1));
      pixels.data.set([grey, grey, grey, 255], 4 * p);
    });
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  });
}

// Row and column under the pointer, as fractions of a pixel.
function under(event) {
  const canvas = box.firstElementChild, place = canvas.getBoundingClientRect();
  const row = ((event.clientY - place.top) / place.height) * canvas.height;
  return [row, ((event.clientX - place.left) / place.width) * canvas.width];
}

// Whitens the pixels under a pen that moves from one place to another, and empties the completed lower half.
function stroke(from, to) {
  const image = props.value[0].map((row, i) => (i < props.rows ? [...row] : row.map(() => -1)));
  const steps = 1 + Math.ceil(2 * Math.hypot(to[0] - from[0], to[1] - from[1]));
  const pen = image.length / 24; // as wide as the strokes of MNIST
  for (let step = 0; step <= steps; step++) {
    const [y, x] = [0, 1].map((k) => from[k] + ((to[k] - from[k]) * step) / steps);
    for (let i = 0; i < props.rows; i++)
      for (let j = 0; j < image[i].length; j++)
        if ((Math.floor(y) === i && Math.floor(x) === j) || Math.hypot(i + 0.5 - y, j + 0.5 - x) < pen)
          image[i][j] = props.levels - 1;
  }
  props.value = [image];
  show();
}

show();
watch("value", show);
if (props.rows) {
  box.style.setProperty("--cut", `${(100 * props.rows) / props.value[0].length}%`);
  let last = null;
  box.addEventListener("pointerdown", (event) => {
    box.setPointerCapture(event.pointerId);
    last = under(event);
    stroke(last, last);
  });
  box.addEventListener("pointermove", (event) => {
    if (last) stroke(last, (last = under(event)));
  });
  box.addEventListener("lostpointercapture", () => (last = null));
} else {
  box.addEventListener("click", (event) => {
    const index = [...box.children].indexOf(event.target);
    if (index >= 0) trigger("select", { index });
  });
}
