// Pictures of test images side by side: the picture, the truth, what candidates predicted and where they are wrong. Labels come as gray PNGs
// whose values are class indices, and are coloured here: what is shown can change without asking anybody.
//
// data: { images: [{row, name, note, step}], order, row, panes: [{title, kind, candidate}], classes: [{name, color}], overlap, part, version, void }
// order: another one where the images come in another order: then the row that is given is shown, whichever was.
// kind: "picture", "truth", "prediction" or "errors"; row and part are where to begin.
// State that Python is told: row.

const WRONG = [213, 94, 0];
const KEPT = 12; // images whose pixels are kept, for who goes back
const MOST_ZOOM = 64;
const TALLEST = 560; // CSS pixels of a pane

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".viewer");
  // a rerun of the page calls this again: what was zoomed and chosen stays
  const view = (root.view ??= { row: null, x: 0, y: 0, zoom: 1, fill: 0.6, wipe: 1, contour: true, cache: new Map(), told: new Set() });
  // a row that we have told comes back with the page's next run, when somebody may have gone on already
  if (data.order !== view.order || (data.row !== view.given && !view.told.has(data.row))) {
    view.row = data.row;
    view.told.clear();
  }
  Object.assign(view, { given: data.row, order: data.order });
  if (!data.images.some((image) => image.row === view.row)) view.row = data.images.length ? data.images[0].row : null;
  view.part ??= data.part;
  root.replaceChildren();
  root.tabIndex = 0;

  const bar = element("div", "bar");
  const before = button("‹ K", "the image before (K)", () => step(-1));
  const after = button("J ›", "the next image (J)", () => step(1));
  const name = element("span", "name");
  const note = element("span", "note");
  bar.append(before, after, name, note);
  bar.append(slider("labels", view.fill, (value) => (view.fill = value), "how much labels cover the picture"));
  bar.append(slider("wipe", view.wipe, (value) => (view.wipe = value), "to the right of it labels are taken away"));
  const contour = element("input");
  contour.type = "checkbox";
  contour.checked = view.contour;
  contour.onchange = () => {
    view.contour = contour.checked;
    draw();
  };
  bar.append(labelled("true outline", contour));
  if (data.overlap) {
    const choice = element("select");
    data.classes.forEach((one, index) => choice.append(new Option(one.name, index, false, index === view.part)));
    choice.onchange = () => {
      view.part = Number(choice.value);
      show();
    };
    bar.append(labelled("class", choice));
  }
  bar.append(button("fit", "the whole image (0)", fit));
  root.append(bar);

  const panes = element("div", "panes");
  const columns = data.panes.length <= 4 ? data.panes.length : Math.ceil(data.panes.length / 2);
  panes.style.gridTemplateColumns = `repeat(auto-fit, minmax(max(200px, calc(${100 / columns}% - 0.5rem)), 1fr))`;
  const canvases = data.panes.map((pane) => {
    const box = element("div", "pane");
    const title = element("div", "title");
    title.textContent = pane.title;
    const canvas = element("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", pane.title);
    box.append(title, canvas);
    panes.append(box);
    moved(canvas);
    return canvas;
  });
  root.append(panes);

  const under = element("div", "under");
  const legend = element("div", "legend");
  data.classes.forEach((one) => {
    const entry = element("span");
    const color = element("i");
    color.style.background = `rgb(${one.color.join(",")})`;
    entry.append(color, one.name);
    legend.append(entry);
  });
  root.append(under, legend);

  root.onkeydown = (event) => {
    if (event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key === "j") step(1);
    else if (key === "k") step(-1);
    else if (key === "0") fit();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const resized = new ResizeObserver(() => draw());
  resized.observe(panes);
  show();
  return () => resized.disconnect();

  function element(tag, kind) {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    return made;
  }

  function button(text, title, pressed) {
    const made = element("button");
    made.textContent = text;
    made.title = title;
    made.onclick = pressed;
    return made;
  }

  function labelled(text, control) {
    const made = element("label");
    made.append(text, control);
    return made;
  }

  function slider(text, value, changed, title) {
    const made = element("input");
    Object.assign(made, { type: "range", min: 0, max: 1, step: 0.01, value, title });
    made.setAttribute("aria-label", text);
    made.oninput = () => {
      changed(Number(made.value));
      draw();
    };
    return labelled(text, made);
  }

  function place() {
    return data.images.findIndex((image) => image.row === view.row);
  }

  function step(by) {
    const next = place() + by;
    if (next < 0 || next >= data.images.length) return;
    view.row = data.images[next].row;
    view.told.add(view.row);
    setStateValue("row", view.row);
    show();
  }

  function address(what, row, candidate) {
    const asked = new URLSearchParams({ version: data.version });
    if (candidate) asked.set("candidate", candidate);
    if (data.overlap && what !== "picture") asked.set("class", view.part);
    return `${data.base}/images/${what}/${row}.png?${asked}`;
  }

  async function pixels(source) {
    const answer = await fetch(source);
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? `${answer.status}`);
    const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, bitmap.width, bitmap.height);
  }

  // the picture, and labels as one byte a pixel by whose they are
  function loaded(row) {
    const key = `${data.version} ${row} ${data.overlap ? view.part : ""} ${data.panes.map((pane) => pane.candidate ?? "").join("\n")}`;
    if (!view.cache.has(key)) {
      const candidates = [...new Set(data.panes.map((pane) => pane.candidate).filter(Boolean))];
      const labels = (source) => pixels(source).then((image) => Uint8Array.from({ length: image.width * image.height }, (_, at) => image.data[4 * at]));
      const found = Promise.all([
        pixels(address("picture", row)),
        labels(address("truth", row)),
        ...candidates.map((candidate) => labels(address("labelling", row, candidate))),
      ]).then(([picture, truth, ...said]) => ({
        picture,
        truth,
        said: Object.fromEntries(candidates.map((candidate, number) => [candidate, said[number]])),
        outline: outline(truth, picture.width, picture.height),
      }));
      view.cache.set(key, found);
      found.catch(() => view.cache.delete(key));
      while (view.cache.size > KEPT) view.cache.delete(view.cache.keys().next().value);
    }
    return view.cache.get(key);
  }

  // pixels of which one to the right or below has another true label, where both are known
  function outline(truth, width, height) {
    const found = new Uint8Array(truth.length);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const at = y * width + x;
        if (truth[at] === data.void) continue;
        const right = x + 1 < width ? truth[at + 1] : truth[at];
        const below = y + 1 < height ? truth[at + width] : truth[at];
        if ((right !== truth[at] && right !== data.void) || (below !== truth[at] && below !== data.void)) found[at] = 1;
      }
    }
    return found;
  }

  async function show() {
    const at = place();
    before.disabled = at <= 0;
    after.disabled = at < 0 || at >= data.images.length - 1;
    if (at < 0) {
      name.textContent = "there is no image to show";
      return;
    }
    const { row, name: called, note: told } = data.images[at];
    name.textContent = called;
    note.textContent = `${told ? `${told}, ` : ""}${at + 1} of ${data.images.length}`;
    const { part } = view;
    root.dataset.state = "loading";
    try {
      const image = await loaded(row);
      if (row !== view.row) return; // somebody has gone on
      if (view.part !== part) return;
      view.image = image;
      view.shown = `${data.version} ${row} ${part}`;
      under.textContent = "";
      draw();
      root.dataset.state = "shown";
      root.dataset.row = row;
    } catch (error) {
      view.image = null;
      canvases.forEach((canvas) => canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height));
      under.textContent = `this image cannot be shown: ${error.message}`;
      root.dataset.state = "failed";
      return;
    }
    for (const next of [at + 1, at - 1]) if (data.images[next]) loaded(data.images[next].row).catch(() => {});
  }

  function labelsOf(pane) {
    return pane.kind === "truth" ? view.image.truth : view.image.said[pane.candidate];
  }

  function draw() {
    if (view.image) data.panes.forEach((pane, number) => paint(canvases[number], pane));
  }

  function paint(canvas, pane) {
    const { width, height } = view.image.picture;
    const side = Math.min(canvas.parentElement.clientWidth || 300, (TALLEST * width) / height);
    const scale = window.devicePixelRatio || 1;
    const tall = (side * height) / width;
    canvas.width = Math.max(1, Math.round(side * scale));
    canvas.height = Math.max(1, Math.round(tall * scale));
    Object.assign(canvas.style, { width: `${side}px`, height: `${tall}px` });
    const sheet = colored(canvas, pane);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false; // a pixel stays one
    const fits = width > height ? canvas.width / width : canvas.height / height; // the other may be a few pixels, and rounded
    const { left, top, zoom } = window_(width, height);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(sheet, -left * fits * zoom, -top * fits * zoom, width * fits * zoom, height * fits * zoom);
    canvas.fits = (fits * zoom) / scale;
  }

  // the whole of a pane's image, made anew only when something else than where one looks has changed
  function colored(canvas, pane) {
    const { picture, truth, outline: edges } = view.image;
    const { width, height } = picture;
    const stamp = `${view.shown} ${view.fill} ${view.wipe} ${view.contour} ${pane.kind} ${pane.candidate}`;
    if (canvas.stamp === stamp) return canvas.sheet;
    const shown = new ImageData(new Uint8ClampedArray(picture.data), width, height);
    const labels = pane.kind === "picture" ? null : labelsOf(pane);
    const until = view.wipe * width;
    for (let at = 0; at < truth.length; at++) {
      const x = at % width;
      if (labels && x < until) {
        if (pane.kind === "errors") {
          const wrong = truth[at] !== labels[at] && truth[at] !== data.void;
          for (let part = 0; part < 3; part++) shown.data[4 * at + part] = wrong ? WRONG[part] : picture.data[4 * at + part] / 3;
        } else {
          const color = colorOf(labels[at]);
          if (color) {
            // over gray: a color over another would be that of some other class
            const gray = 0.299 * picture.data[4 * at] + 0.587 * picture.data[4 * at + 1] + 0.114 * picture.data[4 * at + 2];
            for (let part = 0; part < 3; part++) {
              shown.data[4 * at + part] = view.fill ? (1 - view.fill) * gray + view.fill * color[part] : picture.data[4 * at + part];
            }
          }
        }
      }
      if (view.contour && edges[at] && pane.kind !== "picture" && pane.kind !== "errors") {
        shown.data[4 * at] = shown.data[4 * at + 1] = shown.data[4 * at + 2] = 255;
      }
    }
    const sheet = new OffscreenCanvas(width, height);
    sheet.getContext("2d").putImageData(shown, 0, 0);
    Object.assign(canvas, { sheet, stamp });
    return sheet;
  }

  function colorOf(label) {
    if (data.overlap) return label === 1 ? data.classes[view.part].color : null;
    return label === data.void || !data.classes[label] ? null : data.classes[label].color;
  }

  // what of the image is seen: all panes see the same
  function window_(width, height) {
    const most = 1 - 1 / view.zoom;
    view.x = Math.min(Math.max(view.x, 0), most);
    view.y = Math.min(Math.max(view.y, 0), most);
    return { left: view.x * width, top: view.y * height, zoom: view.zoom };
  }

  function fit() {
    Object.assign(view, { x: 0, y: 0, zoom: 1 });
    draw();
  }

  function moved(canvas) {
    canvas.onwheel = (event) => {
      if (!view.image || !root.contains(root.getRootNode().activeElement)) return; // who only scrolls by is not to be held
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      const [u, v] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      const zoom = Math.min(Math.max(view.zoom * Math.exp(-event.deltaY / 300), 1), MOST_ZOOM);
      view.x += u / view.zoom - u / zoom;
      view.y += v / view.zoom - v / zoom;
      view.zoom = zoom;
      draw();
    };
    canvas.onpointerdown = (event) => {
      root.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      canvas.from = [event.clientX, event.clientY];
    };
    canvas.onpointerup = () => (canvas.from = null);
    canvas.onpointermove = (event) => {
      if (!view.image) return;
      if (canvas.from) {
        const box = canvas.getBoundingClientRect();
        view.x -= (event.clientX - canvas.from[0]) / box.width / view.zoom;
        view.y -= (event.clientY - canvas.from[1]) / box.height / view.zoom;
        canvas.from = [event.clientX, event.clientY];
        draw();
      }
      told(canvas, event);
    };
    canvas.onpointerleave = () => (under.textContent = "");
  }

  // what the pixel under the pointer is, in truth and by each candidate
  function told(canvas, event) {
    const { picture, truth, said } = view.image;
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(view.x * picture.width + (event.clientX - box.left) / canvas.fits);
    const y = Math.floor(view.y * picture.height + (event.clientY - box.top) / canvas.fits);
    if (x < 0 || y < 0 || x >= picture.width || y >= picture.height) {
      under.textContent = "";
      return;
    }
    const at = y * picture.width + x;
    const word = (label) => {
      if (label === data.void) return "void";
      if (data.overlap) return label ? data.classes[view.part].name : `not ${data.classes[view.part].name}`;
      return data.classes[label]?.name ?? `${label}`;
    };
    const step = data.images[place()]?.step ?? 1; // of a large image every second, third ... pixel is here
    const parts = [`x ${x * step}, y ${y * step}`, `truth: ${word(truth[at])}`];
    Object.entries(said).forEach(([candidate, labels]) => parts.push(`${candidate}: ${word(labels[at])}`));
    under.textContent = parts.join("  ·  ");
  }
}
