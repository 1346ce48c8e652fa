//! Turn layers into shapes: clipped to the axes, thinned to what the eye can tell apart.

use super::axis::Scale;
use super::canvas::{Align, Label, Shape};
use super::image::cloud;
use super::panel::{Layer, Panel};
use super::style::{INK, LABEL, Look, Looks, SOFT, WHITE};
use crate::error::Result;

type Point = (f64, f64);

/// More markers than this become one image.
const CLOUD: usize = 1_500;
const STROKE: f64 = 1.8;
const MARKER: f64 = 3.4;
/// Width of the white rim of a walker.
const RIM: f64 = 0.8;

/// The rectangle between the axes, in pixels, with what maps data into it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axes {
    pub x: Scale,
    pub y: Scale,
}

impl Axes {
    /// Left, top, width and height.
    pub fn area(&self) -> (f64, f64, f64, f64) {
        (self.x.a, self.y.b, self.x.b - self.x.a, self.y.a - self.y.b)
    }

    fn at(&self, x: f64, y: f64) -> Option<Point> {
        Some((self.x.px(x)?, self.y.px(y)?))
    }
}

/// All layers of a panel, areas first.
pub(super) fn shapes(panel: &Panel, axes: &Axes, looks: &Looks) -> Result<Vec<Shape>> {
    let (mut ground, mut below, mut above) = (vec![], vec![], vec![]);
    let groups = panel.layers.iter().filter(|l| matches!(l, Layer::Bars { .. })).count();
    let mut group = 0;
    for layer in &panel.layers {
        let look = looks.of(layer.label());
        match layer {
            Layer::Band { xs, lo, hi, .. } => below.extend(band(axes, xs, lo, hi, look)),
            Layer::Bars { heights, se, .. } => {
                bars(axes, heights, se, (group, groups), look, &mut below);
                group += 1;
            }
            Layer::Steps { edges, heights, .. } => steps(axes, edges, heights, look, &mut below, &mut above),
            Layer::Energy { grid, .. } => ground.extend(grid.picture(axes)?),
            Layer::Line { xs, ys, dashed, .. } => above.extend(line(axes, xs, ys, *dashed, look)),
            Layer::Density { xs, ys, .. } => above.extend(line(axes, xs, ys, false, look)),
            Layer::Rule { at, vertical, .. } => above.extend(rule(axes, *at, *vertical, look)),
            Layer::Points { xs, ys, se, .. } => points(axes, xs, ys, se, look, &mut above)?,
            Layer::Walkers { xs, ys, weights, .. } => walkers(axes, xs, ys, weights, look, &mut above)?,
            Layer::Unfit { .. } => {}
            Layer::Text { x, y, text } => above.extend(axes.at(*x, *y).filter(|p| inside(axes, *p)).map(|(x, y)| {
                let (text, size, rgb) = (text.clone(), LABEL - 1.0, INK);
                Shape::Text(Label { text, x, y, size, rgb, align: Align::Center, bold: false, upward: false })
            })),
        }
    }
    ground.append(&mut below);
    ground.append(&mut above);
    Ok(ground)
}

fn line(axes: &Axes, xs: &[f64], ys: &[f64], dashed: bool, look: Look) -> Vec<Shape> {
    let mut out = vec![];
    let all: Vec<Option<Point>> = xs.iter().zip(ys).map(|(x, y)| axes.at(*x, *y)).collect();
    for run in all.split(Option::is_none) {
        let run: Vec<Point> = thin(&run.iter().flatten().copied().collect::<Vec<_>>());
        if let [only] = run[..] {
            // A point between two gaps has no line: show that it is there.
            out.extend(inside(axes, only).then_some(Shape::Disc { at: only, radius: STROKE, rgb: look.rgb }));
        }
        for path in clip(axes, &run) {
            let parts = if dashed { dash(&path, 7.0, 4.0) } else { vec![path] };
            out.extend(parts.into_iter().map(|points| stroke(points, look, STROKE)));
        }
    }
    out
}

fn stroke(points: Vec<Point>, look: Look, width: f64) -> Shape {
    Shape::Path { points, rgb: look.rgb, alpha: 1.0, width }
}

fn rule(axes: &Axes, at: f64, vertical: bool, look: Look) -> Vec<Shape> {
    let ends = if vertical {
        axes.x.px(at).filter(|_| axes.x.contains(at)).map(|x| [(x, axes.y.a), (x, axes.y.b)])
    } else {
        axes.y.px(at).filter(|_| axes.y.contains(at)).map(|y| [(axes.x.a, y), (axes.x.b, y)])
    };
    ends.map_or(vec![], |e| dash(&e, 5.0, 4.0).into_iter().map(|points| stroke(points, look, 1.4)).collect())
}

fn band(axes: &Axes, xs: &[f64], lo: &[f64], hi: &[f64], look: Look) -> Vec<Shape> {
    let edge = |i: usize| -> Option<(Point, Point)> {
        if !axes.x.contains(xs[i]) || lo[i].is_nan() || hi[i].is_nan() {
            return None;
        }
        let x = axes.x.px(xs[i])?;
        Some(((x, axes.y.px_inside(lo[i])?), (x, axes.y.px_inside(hi[i])?)))
    };
    let all: Vec<Option<(Point, Point)>> = (0..xs.len()).map(edge).collect();
    let mut out = vec![];
    for run in all.split(Option::is_none) {
        let (low, high): (Vec<Point>, Vec<Point>) = run.iter().flatten().copied().unzip();
        let mut points = thin(&high);
        points.extend(thin(&low).into_iter().rev());
        if points.len() >= 4 {
            out.push(Shape::Area { points, rgb: look.rgb, alpha: 0.2 });
        }
    }
    out
}

fn points(axes: &Axes, xs: &[f64], ys: &[f64], se: &[f64], look: Look, out: &mut Vec<Shape>) -> Result<()> {
    let mut marks = vec![];
    for i in 0..xs.len() {
        let Some(at) = axes.at(xs[i], ys[i]) else { continue };
        if se.get(i).is_some_and(|s| s.is_finite()) && axes.x.contains(xs[i]) {
            out.extend(whisker(axes, at.0, ys[i], se[i], look));
        }
        if inside(axes, at) {
            marks.push(at);
        }
    }
    if marks.len() > CLOUD {
        let discs: Vec<(Point, f64)> = marks.into_iter().map(|at| (at, 1.5)).collect();
        out.push(cloud(&discs, look.rgb, None, axes.area())?);
    } else {
        let radius = if marks.len() > 200 { 2.0 } else { MARKER };
        out.extend(marks.into_iter().map(|at| marker(at, radius, look)));
    }
    Ok(())
}

/// Markers with white rims: they lie on a colour map, and on each other.
fn walkers(axes: &Axes, xs: &[f64], ys: &[f64], weights: &[f64], look: Look, out: &mut Vec<Shape>) -> Result<()> {
    let largest = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let mean = weights.iter().map(|w| w / largest).sum::<f64>() / weights.len().max(1) as f64;
    let area = |i: usize| weights.get(i).map_or(1.0, |w| (w / largest / mean).clamp(0.1, 10.0));
    let at = |i: usize| axes.at(xs[i], ys[i]).filter(|p| inside(axes, *p)).map(|p| (p, area(i).sqrt()));
    let mut marks: Vec<(Point, f64)> = (0..xs.len()).filter_map(at).collect();
    // Large ones first: they must not hide small ones.
    marks.sort_by(|a, b| b.1.total_cmp(&a.1));
    if marks.len() > CLOUD {
        marks.iter_mut().for_each(|m| m.1 *= 1.5);
        out.push(cloud(&marks, look.rgb, Some(RIM / 2.0), axes.area())?);
        return Ok(());
    }
    let (usual, rim) = if marks.len() > 200 { (2.0, 0.5) } else { (MARKER, RIM) };
    for (at, r) in marks {
        let white = Look { rgb: WHITE, marker: look.marker };
        out.extend([marker(at, r * usual + rim, white), marker(at, r * usual, look)]);
    }
    Ok(())
}

/// A disc, square, triangle or diamond of the same weight.
pub(super) fn marker((x, y): Point, r: f64, look: Look) -> Shape {
    let polygon = |points: &[Point]| Shape::Area {
        points: points.iter().map(|(dx, dy)| (x + dx * r, y + dy * r)).collect(),
        rgb: look.rgb,
        alpha: 1.0,
    };
    match look.marker {
        0 => Shape::Disc { at: (x, y), radius: r, rgb: look.rgb },
        1 => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => polygon(&[(0.0, -1.25), (1.15, 0.8), (-1.15, 0.8)]),
        _ => polygon(&[(0.0, -1.3), (1.2, 0.0), (0.0, 1.3), (-1.2, 0.0)]),
    }
}

fn whisker(axes: &Axes, x: f64, y: f64, se: f64, look: Look) -> Vec<Shape> {
    let (Some(lo), Some(hi)) = (axes.y.px_inside(y - se), axes.y.px_inside(y + se)) else { return vec![] };
    let mut out = vec![stroke(vec![(x, lo), (x, hi)], look, 1.4)];
    for (value, px) in [(y - se, lo), (y + se, hi)] {
        if axes.y.contains(value) {
            out.push(stroke(vec![(x - 3.0, px), (x + 3.0, px)], look, 1.4));
        }
    }
    out
}

fn bars(axes: &Axes, heights: &[f64], se: &[f64], (group, groups): (usize, usize), look: Look, out: &mut Vec<Shape>) {
    let slot = 0.8 / groups.max(1) as f64;
    for (i, height) in heights.iter().enumerate() {
        let centre = i as f64 - 0.4 + slot * (group as f64 + 0.5);
        let (Some(left), Some(right)) = (axes.x.px(centre - slot * 0.46), axes.x.px(centre + slot * 0.46)) else {
            continue;
        };
        let (Some(top), Some(base)) = (axes.y.px_inside(*height), axes.y.px_inside(0.0)) else { continue };
        let points = vec![(left, base), (left, top), (right, top), (right, base)];
        out.push(Shape::Area { points, rgb: look.rgb, alpha: 0.85 });
        if let Some(s) = se.get(i).filter(|s| s.is_finite()) {
            out.extend(whisker(axes, (left + right) / 2.0, *height, *s, Look { rgb: INK, marker: 0 }));
        }
    }
}

fn steps(a: &Axes, edges: &[f64], heights: &[f64], look: Look, below: &mut Vec<Shape>, above: &mut Vec<Shape>) {
    let Some(base) = a.y.px_inside(0.0) else { return };
    let mut outline: Vec<Point> = vec![];
    let mut flush = |outline: &mut Vec<Point>| {
        if let (Some(first), Some(last)) = (outline.first().copied(), outline.last().copied()) {
            let mut points = vec![(first.0, base)];
            points.append(outline);
            points.push((last.0, base));
            below.push(Shape::Area { points: points.clone(), rgb: look.rgb, alpha: 0.2 });
            above.extend(clip(a, &points).into_iter().map(|p| stroke(p, look, 1.5)));
        }
    };
    for (i, height) in heights.iter().enumerate() {
        let bin = (a.x.px_inside(edges[i]), a.x.px_inside(edges[i + 1]), a.y.px_inside(*height));
        match bin {
            (Some(left), Some(right), Some(top)) => outline.extend([(left, top), (right, top)]),
            _ => flush(&mut outline),
        }
    }
    flush(&mut outline);
}

fn inside(axes: &Axes, (x, y): Point) -> bool {
    let (left, top, width, height) = axes.area();
    x >= left - 0.5 && x <= left + width + 0.5 && y >= top - 0.5 && y <= top + height + 0.5
}

/// The parts of a path within the axes (Liang and Barsky, segment by segment).
fn clip(axes: &Axes, path: &[Point]) -> Vec<Vec<Point>> {
    let (left, top, width, height) = axes.area();
    let mut out: Vec<Vec<Point>> = vec![];
    let mut run: Vec<Point> = vec![];
    for pair in path.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let (dx, dy) = (x1 - x0, y1 - y0);
        let (mut t0, mut t1) = (0.0f64, 1.0f64);
        let sides = [(-dx, x0 - left), (dx, left + width - x0), (-dy, y0 - top), (dy, top + height - y0)];
        for (p, q) in sides {
            if p < 0.0 {
                t0 = t0.max(q / p);
            } else if p > 0.0 {
                t1 = t1.min(q / p);
            } else if q < 0.0 {
                t1 = -1.0;
            }
        }
        if t0 > t1 {
            out.push(std::mem::take(&mut run));
            continue;
        }
        if t0 > 0.0 || run.is_empty() {
            out.push(std::mem::take(&mut run));
            run.push((x0 + t0 * dx, y0 + t0 * dy));
        }
        run.push((x0 + t1 * dx, y0 + t1 * dy));
        if t1 < 1.0 {
            out.push(std::mem::take(&mut run));
        }
    }
    out.push(run);
    out.retain(|r| r.len() > 1);
    out
}

/// At most four points per pixel column (first, lowest, highest, last), so that no peak is lost; paths that turn back
/// lose only points that lie on their predecessor.
fn thin(path: &[Point]) -> Vec<Point> {
    let forward = path.windows(2).all(|p| p[1].0 >= p[0].0);
    if !forward || path.len() < 400 {
        let mut out: Vec<Point> = vec![];
        for (i, p) in path.iter().enumerate() {
            let far = out.last().is_none_or(|q| (p.0 - q.0).abs() + (p.1 - q.1).abs() > 0.15);
            if far || (i + 1 == path.len() && out.len() == 1) {
                out.push(*p);
            }
        }
        return out;
    }
    let mut out: Vec<Point> = vec![];
    for column in path.chunk_by(|a, b| a.0.floor() == b.0.floor()) {
        let by_y = |a: &(usize, &Point), b: &(usize, &Point)| a.1.1.total_cmp(&b.1.1);
        let low = column.iter().enumerate().min_by(by_y).map_or(0, |(i, _)| i);
        let high = column.iter().enumerate().max_by(by_y).map_or(0, |(i, _)| i);
        let mut keep = [0, low, high, column.len() - 1];
        keep.sort_unstable();
        out.extend(keep.iter().enumerate().filter(|(k, i)| *k == 0 || keep[k - 1] != **i).map(|(_, i)| column[*i]));
    }
    out
}

/// Cuts a path into dashes along its length.
pub(super) fn dash(path: &[Point], on: f64, off: f64) -> Vec<Vec<Point>> {
    // A noisy line is long: longer dashes keep their number, and the file, small.
    let length: f64 = path.windows(2).map(|p| (p[1].0 - p[0].0).hypot(p[1].1 - p[0].1)).sum();
    let stretch = (length / 6_000.0).max(1.0);
    let (on, off) = (on * stretch, off * stretch);
    let mut out = vec![];
    let mut current: Vec<Point> = path.first().copied().into_iter().collect();
    let (mut drawing, mut left) = (true, on);
    for pair in path.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            if length <= left {
                left -= length;
                if drawing {
                    current.push(to);
                }
                break;
            }
            let share = left / length;
            from = (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1));
            if drawing {
                current.push(from);
                out.push(std::mem::take(&mut current));
            } else {
                current = vec![from];
            }
            drawing = !drawing;
            left = if drawing { on } else { off };
        }
    }
    if drawing && current.len() > 1 {
        out.push(current);
    }
    out
}

/// The sample of a layer that a legend shows around `(x, y)`, about 24 pixels wide.
pub(super) fn sample(layer: &Layer, look: Look, (x, y): Point) -> Vec<Shape> {
    let bar = |half: f64, alpha| {
        let points = vec![(x - 11.0, y - half), (x + 11.0, y - half), (x + 11.0, y + half), (x - 11.0, y + half)];
        Shape::Area { points, rgb: look.rgb, alpha }
    };
    let across = [(x - 11.0, y), (x + 11.0, y)];
    match layer {
        Layer::Line { dashed: false, .. } | Layer::Density { .. } => vec![stroke(across.to_vec(), look, STROKE)],
        Layer::Line { .. } => dash(&across, 6.0, 2.5).into_iter().map(|p| stroke(p, look, STROKE)).collect(),
        Layer::Rule { .. } => dash(&across, 5.0, 3.5).into_iter().map(|p| stroke(p, look, 1.4)).collect(),
        Layer::Band { .. } => vec![bar(5.0, 0.2)],
        Layer::Bars { .. } => vec![bar(4.5, 0.85)],
        Layer::Steps { .. } => vec![bar(4.5, 0.2), stroke(vec![(x - 11.0, y - 4.5), (x + 11.0, y - 4.5)], look, 1.5)],
        Layer::Walkers { .. } => vec![marker((x, y), MARKER, look)],
        Layer::Points { se, .. } if se.is_empty() => vec![marker((x, y), MARKER, look)],
        Layer::Points { .. } => vec![stroke(vec![(x, y - 6.0), (x, y + 6.0)], look, 1.4), marker((x, y), MARKER, look)],
        Layer::Energy { .. } | Layer::Unfit { .. } | Layer::Text { .. } => vec![],
    }
}

/// A grey remark in the middle of an empty panel.
pub(super) fn no_data((x, y, width, height): (f64, f64, f64, f64)) -> Shape {
    let (x, y, text) = (x + width / 2.0, y + height / 2.0, "no data".to_string());
    Shape::Text(Label { text, x, y, size: LABEL, rgb: SOFT, align: Align::Center, bold: false, upward: false })
}
