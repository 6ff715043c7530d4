// Makes the outlines of the world map and the table of countries that the pages
// embed, of Natural Earth's data (public domain) as the package world-atlas has
// it. `make map` runs it; what it writes is committed.
//
// The map is a plate carrée of two units a degree: x = 2 (lon + 180), y = 2 (84 - lat).
// It ends in the south at 58 degrees, beyond which no relay is.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const iso = require("i18n-iso-countries");
const land = require("world-atlas/land-110m.json");
const countries = require("world-atlas/countries-50m.json");

const north = 84, south = -58, small = 3; // units of area below which an island is left out
const target = process.argv[2];

// arcs returns the arcs of a topology as lists of [lon, lat].
function arcs({ arcs, transform: { scale, translate } }) {
  return arcs.map((arc) => {
    let x = 0, y = 0;
    return arc.map(([dx, dy]) => [(x += dx) * scale[0] + translate[0], (y += dy) * scale[1] + translate[1]]);
  });
}

// rings returns the outer rings of a geometry.
function rings(geometry, all) {
  const ring = (indexes) => indexes.flatMap((i, n) => {
    const arc = i < 0 ? all[~i].slice().reverse() : all[i];
    return n ? arc.slice(1) : arc; // an arc begins where the one before ends
  });
  switch (geometry.type) {
    case "GeometryCollection": return geometry.geometries.flatMap((g) => rings(g, all));
    case "Polygon": return [ring(geometry.arcs[0])];
    case "MultiPolygon": return geometry.arcs.map((polygon) => ring(polygon[0]));
    default: return [];
  }
}

// middle returns the signed area of a ring and its centre of gravity.
function middle(ring) {
  let area = 0, x = 0, y = 0;
  ring.forEach(([x1, y1], i) => {
    const [x2, y2] = ring[(i + 1) % ring.length];
    const cross = x1 * y2 - x2 * y1;
    area += cross; x += (x1 + x2) * cross; y += (y1 + y2) * cross;
  });
  return area ? { area: area / 2, x: x / (3 * area), y: y / (3 * area) } : { area: 0, x: ring[0][0], y: ring[0][1] };
}

// whole lets a ring that leaves the map at one side go on beyond its edge, and
// adds the part of it that comes in at the other side.
function whole(ring) {
  let turn = 0;
  const out = ring.map(([lon, lat], i) => {
    const step = i ? lon - ring[i - 1][0] : 0;
    if (step > 180) turn -= 360;
    if (step < -180) turn += 360;
    return [lon + turn, lat];
  });
  const lons = out.map(([lon]) => lon);
  const moved = (by) => out.map(([lon, lat]) => [lon + by, lat]);
  if (Math.max(...lons) > 180) return [out, moved(-360)];
  if (Math.min(...lons) < -180) return [out, moved(360)];
  return [out];
}

const outline = rings(land.objects.land, arcs(land))
  .flatMap(whole)
  .map((ring) => ring.map(([lon, lat]) => [Math.round(2 * (lon + 180)), Math.round(2 * (north - Math.max(lat, south)))]))
  .map((ring) => ring.filter(([x, y], i) => i === 0 || x !== ring[i - 1][0] || y !== ring[i - 1][1]))
  .filter((ring) => Math.abs(middle(ring).area) >= small)
  .map((ring) => {
    let [x, y] = ring[0];
    const steps = ring.slice(1).map(([nx, ny]) => {
      const step = `${nx - x}${ny < y ? "" : " "}${ny - y}`;
      [x, y] = [nx, ny];
      return step;
    });
    return `M${ring[0].join(" ")}l${steps.join(" ").replaceAll(" -", "-")}z`;
  });
fs.writeFileSync(path.join(target, "world.path"), outline.join("\n") + "\n");

const all = arcs(countries);
const table = countries.objects.countries.geometries.flatMap((geometry) => {
  const code = iso.numericToAlpha2(geometry.id);
  if (!code) return [];
  const largest = rings(geometry, all).map(middle).reduce((a, b) => (Math.abs(b.area) > Math.abs(a.area) ? b : a));
  return [`${code}\t${largest.x.toFixed(1)}\t${largest.y.toFixed(1)}\t${iso.getName(code, "en")}`];
});
fs.writeFileSync(path.join(target, "countries.tsv"), [...new Set(table)].sort().join("\n") + "\n");
