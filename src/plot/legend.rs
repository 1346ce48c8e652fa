//! Put the legend where no data is: into a free corner, else into a strip above the axes.

use super::canvas::{Align, Label, Shape};
use super::marks::sample;
use super::panel::{Layer, Panel};
use super::power_law::name;
use super::style::{INK, Looks, TICK, WHITE, cut, fit, width};

/// Height of an entry.
pub(super) const ROW: f64 = 19.0;
/// From the left end of an entry to its text, and from there to the next entry.
const INDENT: f64 = 30.0;
const SPACE: f64 = 18.0;
/// Side of the squares that are free or not.
const CELL: f64 = 6.0;

type Area = (f64, f64, f64, f64);

fn entry(panels: &[&Panel], label: &str, looks: &Looks, (x, y): (f64, f64), room: f64) -> Vec<Shape> {
    let mut kinds: Vec<(u8, &Layer)> = vec![];
    for layer in panels.iter().flat_map(|p| &p.layers).filter(|l| l.label() == label) {
        let kind = match layer {
            Layer::Band { .. } => 0,
            Layer::Bars { .. } => 1,
            Layer::Steps { .. } => 2,
            Layer::Line { dashed: false, .. } | Layer::Density { .. } => 3,
            Layer::Line { .. } => 4,
            Layer::Rule { .. } => 5,
            Layer::Energy { .. } | Layer::Unfit { .. } | Layer::Text { .. } => continue,
            Layer::Points { .. } | Layer::Walkers { .. } => 6,
        };
        if !kinds.iter().any(|k| k.0 == kind) {
            kinds.push((kind, layer));
        }
    }
    kinds.sort_by_key(|k| k.0);
    let mut shapes: Vec<Shape> =
        kinds.iter().flat_map(|(_, layer)| sample(layer, looks.of(label), (x + 12.0, y))).collect();
    let (text, size) = fit_with_exponent(label, room - INDENT);
    let (x, rgb) = (x + INDENT, INK);
    shapes.push(Shape::Text(Label { text, x, y, size, rgb, align: Align::Left, bold: false, upward: false }));
    shapes
}

/// As [`fit`], but a fitted exponent stays whole: characters are cut from the name before it.
fn fit_with_exponent(label: &str, room: f64) -> (String, f64) {
    let (text, size) = fit(label, TICK, room);
    let fitted = &label[name(label).len()..];
    if text == label || fitted.is_empty() {
        return (text, size);
    }
    (cut(name(label), size, room - width(fitted, size)) + fitted, size)
}

/// Rows of a strip `width` pixels wide: each a list of (offset, label).
fn rows<'a>(labels: &[&'a str], room: f64) -> Vec<Vec<(f64, &'a str)>> {
    let mut rows: Vec<Vec<(f64, &str)>> = vec![vec![]];
    let mut x = 0.0;
    for label in labels {
        let w = INDENT + width(label, TICK);
        if x > 0.0 && x + w > room {
            rows.push(vec![]);
            x = 0.0;
        }
        if let Some(row) = rows.last_mut() {
            row.push((x, label));
        }
        x += w + SPACE;
    }
    rows
}

/// Height of the strip that holds these labels.
pub(super) fn strip_height(labels: &[&str], room: f64) -> f64 {
    if labels.is_empty() { 0.0 } else { rows(labels, room).len() as f64 * ROW + 4.0 }
}

/// The entries in rows from `(x, y)`.
pub(super) fn strip(panels: &[&Panel], labels: &[&str], looks: &Looks, (x, y): (f64, f64), room: f64) -> Vec<Shape> {
    let mut out = vec![];
    for (i, row) in rows(labels, room).iter().enumerate() {
        for (dx, label) in row {
            out.extend(entry(panels, label, looks, (x + dx, y + (i as f64 + 0.5) * ROW), room - dx));
        }
    }
    out
}

/// The entries as a box in a corner (or the middle of a side) that no shape touches; None where there is no such place.
pub(super) fn corner(
    panel: &Panel,
    labels: &[&str],
    looks: &Looks,
    shapes: &[Shape],
    area: Area,
) -> Option<Vec<Shape>> {
    let w = INDENT + labels.iter().map(|l| width(l, TICK)).fold(0.0, f64::max) + 8.0;
    let h = labels.len() as f64 * ROW + 4.0;
    let (left, top, aw, ah) = area;
    if w > aw * 0.7 || h > ah * 0.7 {
        return None;
    }
    let ink = Ink::of(shapes, area);
    let (x0, x1, y0, y1) = (left + 8.0, left + aw - w - 8.0, top + 5.0, top + ah - h - 8.0);
    let middle = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
    let places =
        [(x1, y0), (x0, y0), (x1, y1), (x0, y1), (middle.0, y0), (x1, middle.1), (x0, middle.1), (middle.0, y1)];
    let (x, y) = places.into_iter().find(|(x, y)| ink.free((*x, *y, w, h)))?;
    let paper = vec![(x, y), (x + w, y), (x + w, y + h), (x, y + h)];
    let mut out = vec![Shape::Area { points: paper, rgb: WHITE, alpha: 0.85 }];
    for (i, label) in labels.iter().enumerate() {
        out.extend(entry(&[panel], label, looks, (x + 2.0, y + 2.0 + (i as f64 + 0.5) * ROW), w));
    }
    Some(out)
}

/// Which squares of an area are drawn on.
struct Ink {
    area: Area,
    columns: usize,
    cells: Vec<bool>,
}

impl Ink {
    fn of(shapes: &[Shape], area: Area) -> Self {
        let count = |length: f64| (length / CELL).ceil().max(1.0) as usize + 1;
        let columns = count(area.2);
        let mut ink = Ink { area, columns, cells: vec![false; columns * count(area.3)] };
        for shape in shapes {
            match shape {
                Shape::Path { points, .. } => points.windows(2).for_each(|p| ink.segment(p[0], p[1])),
                Shape::Area { points, .. } => {
                    points.windows(2).for_each(|p| ink.segment(p[0], p[1]));
                    ink.fill(points);
                }
                Shape::Disc { at, .. } => ink.mark(*at),
                Shape::Text(l) => {
                    let half = width(&l.text, l.size) / 2.0;
                    ink.segment((l.x - half, l.y), (l.x + half, l.y));
                }
                Shape::Image { .. } => ink.cells.fill(true),
            }
        }
        ink
    }

    fn mark(&mut self, (x, y): (f64, f64)) {
        let (c, r) = ((x - self.area.0) / CELL, (y - self.area.1) / CELL);
        if c >= 0.0
            && r >= 0.0
            && (c as usize) < self.columns
            && let Some(cell) = self.cells.get_mut(r as usize * self.columns + c as usize)
        {
            *cell = true;
        }
    }

    fn segment(&mut self, a: (f64, f64), b: (f64, f64)) {
        let n = ((b.0 - a.0).hypot(b.1 - a.1) / (CELL / 2.0)).ceil().clamp(1.0, 5_000.0);
        for i in 0..=n as usize {
            let t = i as f64 / n;
            self.mark((a.0 + t * (b.0 - a.0), a.1 + t * (b.1 - a.1)));
        }
    }

    /// Every square whose centre is inside the polygon (crossing number, row by row).
    fn fill(&mut self, polygon: &[(f64, f64)]) {
        for r in 0..self.cells.len() / self.columns {
            let y = self.area.1 + (r as f64 + 0.5) * CELL;
            let mut crossings: Vec<f64> = vec![];
            for i in 0..polygon.len() {
                let (a, b) = (polygon[i], polygon[(i + 1) % polygon.len()]);
                if (a.1 > y) != (b.1 > y) {
                    crossings.push(a.0 + (y - a.1) / (b.1 - a.1) * (b.0 - a.0));
                }
            }
            crossings.sort_by(f64::total_cmp);
            for pair in crossings.chunks_exact(2) {
                self.segment((pair[0], y), (pair[1], y));
            }
        }
    }

    fn free(&self, (x, y, w, h): Area) -> bool {
        let cell = |v: f64, from: f64| ((v - from) / CELL).floor().max(0.0) as usize;
        let (c0, c1) = (cell(x, self.area.0), cell(x + w, self.area.0));
        let (r0, r1) = (cell(y, self.area.1), cell(y + h, self.area.1));
        (r0..=r1).all(|r| (c0..=c1).all(|c| !self.cells.get(r * self.columns + c).copied().unwrap_or(false)))
    }
}
