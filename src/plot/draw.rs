//! Lay out the panels of a figure and draw their axes.

use super::axis::{Scale, Tick, range, ticks};
use super::canvas::{Align, Canvas, Label, Shape};
use super::energy::Grid;
use super::marks::{Axes, no_data, shapes};
use super::panel::{Layer, Panel};
use super::style::{GRID, HEADING, INK, LABEL, Looks, Rgb, SOFT, TICK, TITLE, fit, width};
use super::{Figure, legend};
use crate::error::Result;

const EDGE: f64 = 10.0;
const GAP: f64 = 16.0;
/// From an axis to the text of its ticks.
const REACH: f64 = 8.0;

/// The document of a whole figure.
pub(super) fn figure(figure: &Figure) -> Result<String> {
    figure.panels.iter().try_for_each(Panel::check)?;
    let mut canvas = Canvas::new(figure.size);
    let (full_w, full_h) = (figure.size.0 as f64, figure.size.1 as f64);
    let labels: Vec<&str> = figure.panels.iter().flat_map(Panel::labels).collect();
    let looks = Looks::assign(&labels);
    let mut top = EDGE;
    if !figure.title.is_empty() {
        let (text, size) = fit(&figure.title, TITLE, full_w - 2.0 * EDGE);
        let at = (full_w / 2.0, top + 9.0);
        canvas.add([label(text, at, size, INK, Align::Center, true)]);
        top += 28.0;
    }
    let shared = shared_labels(&figure.panels);
    if let Some(labels) = &shared {
        let panels: Vec<&Panel> = figure.panels.iter().collect();
        let room = full_w - 2.0 * EDGE;
        let natural = labels.iter().map(|l| width(l, TICK) + 48.0).sum::<f64>() - 18.0;
        let x = EDGE + ((room - natural) / 2.0).max(0.0);
        canvas.add(legend::strip(&panels, labels, &looks, (x, top), room));
        top += legend::strip_height(labels, room) + 4.0;
    }
    let columns = figure.grid_columns();
    let rows = figure.panels.len().div_ceil(columns).max(1);
    let cell_w = (full_w - 2.0 * EDGE - GAP * (columns - 1) as f64) / columns as f64;
    let cell_h = (full_h - top - EDGE - GAP * (rows - 1) as f64) / rows as f64;
    let plans: Vec<Plan> = figure.panels.iter().map(|p| Plan::of(p, cell_h)).collect();
    for (i, (panel, plan)) in figure.panels.iter().zip(&plans).enumerate() {
        let (r, c) = (i / columns, i % columns);
        // Axes line up: margins are those of the widest in the column and the tallest in the row.
        let same = |of: fn(&Plan) -> f64, pick: &dyn Fn(usize) -> bool| {
            plans.iter().enumerate().filter(|(j, _)| pick(*j)).map(|(_, p)| of(p)).fold(0.0, f64::max)
        };
        let left = same(|p| p.left, &|j| j % columns == c);
        let head = same(|p| p.head, &|j| j / columns == r);
        let foot = same(|p| p.foot, &|j| j / columns == r);
        let (x, y) = (EDGE + c as f64 * (cell_w + GAP), top + r as f64 * (cell_h + GAP));
        let inner = (x + left, y + head, (cell_w - left - plan.right).max(1.0), (cell_h - head - foot).max(1.0));
        if panel.tiles.is_some() {
            let foot = plan.foot;
            let whole = (x, y + head, cell_w.max(1.0), (cell_h - head - foot).max(1.0));
            images(&mut canvas, panel, whole, y)?;
        } else {
            axes(&mut canvas, panel, plan, inner, y, &looks, shared.is_none())?;
        }
    }
    if figure.panels.is_empty() {
        canvas.add([no_data((0.0, 0.0, full_w, full_h))]);
    }
    canvas.svg()
}

/// The labels of a legend for the whole figure: where two or more panels have labels, and the same ones.
fn shared_labels(panels: &[Panel]) -> Option<Vec<&str>> {
    let mut lists = panels.iter().map(Panel::labels).filter(|l| !l.is_empty());
    let first = lists.next()?;
    let mut others = 0;
    for list in lists {
        if list.len() != first.len() || list.iter().any(|l| !first.contains(l)) {
            return None;
        }
        others += 1;
    }
    (others > 0).then_some(first)
}

/// Ranges, ticks and margins of a panel.
struct Plan {
    x: (f64, f64),
    y: (f64, f64),
    y_ticks: Vec<Tick>,
    empty: bool,
    left: f64,
    right: f64,
    head: f64,
    foot: f64,
}

impl Plan {
    fn of(panel: &Panel, cell_h: f64) -> Self {
        let head = if panel.title.is_empty() { 8.0 } else { 26.0 };
        let foot = if panel.x.is_empty() { 0.0 } else { 20.0 } + if panel.tiles.is_some() { 4.0 } else { 20.0 };
        let (x, y) = ranges(panel);
        let empty = x.is_none() || y.is_none();
        let (x, y) = (x.unwrap_or((0.1, 1.0)), y.unwrap_or((0.1, 1.0)));
        let most = ((cell_h - head - foot) / 38.0).clamp(2.0, 8.0) as usize;
        let y_ticks = if empty { vec![] } else { ticks(y.0, y.1, panel.log.1, most) };
        let widest = y_ticks.iter().map(|t| width(&t.label, TICK)).fold(0.0, f64::max);
        let left = if panel.tiles.is_some() {
            0.0
        } else {
            widest + REACH + if panel.y.is_empty() { 4.0 } else { LABEL + 10.0 }
        };
        let right = panel.energy().map_or(0.0, |(label, map)| map.margin(label, cell_h - head - foot)).max(16.0);
        Plan { x, y, y_ticks, empty, left, right, head, foot }
    }
}

type Range = Option<(f64, f64)>;

fn ranges(panel: &Panel) -> (Range, Range) {
    let shown = |x: f64| panel.xlim.is_none_or(|(lo, hi)| x >= lo && x <= hi) && (!panel.log.0 || x > 0.0);
    let (mut xs, mut ys): (Vec<f64>, Vec<f64>) = (vec![], vec![]);
    let mut from_zero = false;
    for layer in &panel.layers {
        match layer {
            Layer::Line { xs: x, ys: y, .. } => each(x, &shown, |i| ys.push(y[i]), &mut xs),
            Layer::Density { xs: x, ys: y, .. } => {
                from_zero = true;
                each(x, &shown, |i| ys.push(y[i]), &mut xs);
            }
            Layer::Walkers { xs: x, ys: y, .. } => each(x, &shown, |i| ys.push(y[i]), &mut xs),
            Layer::Band { xs: x, lo, hi, .. } => each(x, &shown, |i| ys.extend([lo[i], hi[i]]), &mut xs),
            Layer::Points { xs: x, ys: y, se, .. } => {
                let s = |i: usize| se.get(i).copied().filter(|s| s.is_finite()).unwrap_or(0.0);
                each(x, &shown, |i| ys.extend([y[i] - s(i), y[i] + s(i), y[i]]), &mut xs);
            }
            Layer::Bars { heights, se, .. } => {
                from_zero = true;
                let s = |i: usize| se.get(i).copied().filter(|s| s.is_finite()).unwrap_or(0.0);
                heights.iter().enumerate().for_each(|(i, h)| ys.extend([h - s(i), h + s(i), *h]));
            }
            Layer::Steps { edges, heights, .. } => {
                from_zero = true;
                xs.extend(edges);
                ys.extend(heights);
            }
            Layer::Rule { at, vertical: true, .. } => xs.push(*at),
            Layer::Rule { at, .. } => ys.push(*at),
            Layer::Energy { .. } | Layer::Unfit { .. } | Layer::Text { .. } => {}
        }
    }
    let usable = |v: &[f64]| v.iter().any(|v| v.is_finite());
    let mut y = range(ys.iter().copied(), panel.log.1, 0.06);
    if from_zero && !panel.log.1 && usable(&ys) {
        ys.push(0.0);
        let (low, high) = (!ys.iter().any(|v| *v < 0.0), !ys.iter().any(|v| *v > 0.0));
        y = range(ys.iter().copied(), false, 0.06)
            .map(|(lo, hi)| (if low { 0.0 } else { lo }, if high && !low { 0.0 } else { hi }));
    }
    let names = panel.categories.len();
    let x = if names > 0 { Some((-0.6, names as f64 - 0.4)) } else { range(xs.into_iter(), panel.log.0, 0.02) };
    // A panel with a rule or limits in one direction only has an axis in the other too.
    let rules = panel.layers.iter().any(|l| matches!(l, Layer::Rule { .. }));
    let map = |of: fn(&Grid) -> (f64, f64), log| {
        panel.energy().and_then(|(_, g)| range([of(g).0, of(g).1].into_iter(), log, 0.0))
    };
    let (x, y) = (map(|g| g.x, panel.log.0).or(x), map(|g| g.y, panel.log.1).or(y));
    let (x, y) = (panel.xlim.or(x), panel.ylim.or(y));
    if rules && x.is_some() != y.is_some() { (x.or(Some((0.1, 1.0))), y.or(Some((0.1, 1.0)))) } else { (x, y) }
}

fn each(x: &[f64], shown: &impl Fn(f64) -> bool, mut keep: impl FnMut(usize), xs: &mut Vec<f64>) {
    for i in (0..x.len()).filter(|&i| x[i].is_finite() && shown(x[i])) {
        xs.push(x[i]);
        keep(i);
    }
}

type Area = (f64, f64, f64, f64);

fn label(text: impl Into<String>, (x, y): (f64, f64), size: f64, rgb: Rgb, align: Align, bold: bool) -> Shape {
    Shape::Text(Label { text: text.into(), x, y, size, rgb, align, bold, upward: false })
}

fn heading(canvas: &mut Canvas, panel: &Panel, x: f64, y: f64, room: f64) {
    if !panel.title.is_empty() {
        let (text, size) = fit(&panel.title, HEADING, room);
        canvas.add([label(text, (x, y + 10.0), size, INK, Align::Center, false)]);
    }
}

fn x_label(canvas: &mut Canvas, panel: &Panel, x: f64, y: f64, room: f64) {
    if !panel.x.is_empty() {
        let (text, size) = fit(&panel.x, LABEL, room);
        canvas.add([label(text, (x, y), size, INK, Align::Center, false)]);
    }
}

fn images(canvas: &mut Canvas, panel: &Panel, area: Area, top: f64) -> Result<()> {
    let (x, y, w, h) = area;
    heading(canvas, panel, x + w / 2.0, top, w);
    let shape = panel.tiles.as_ref().map_or(Ok(None), |t| t.shape(area))?.unwrap_or_else(|| no_data(area));
    let bottom = if let Shape::Image { at, size, .. } = &shape { at.1 + size.1 } else { y + h };
    canvas.add([shape]);
    x_label(canvas, panel, x + w / 2.0, bottom + 14.0, w);
    Ok(())
}

fn axes(c: &mut Canvas, panel: &Panel, plan: &Plan, area: Area, top: f64, looks: &Looks, legend: bool) -> Result<()> {
    let (left, mut y0, w, mut h) = area;
    let bottom = y0 + h;
    heading(c, panel, left + w / 2.0, top, w + 40.0);
    let frame = |y0: f64| Axes {
        x: Scale { lo: plan.x.0, hi: plan.x.1, log: panel.log.0, a: left, b: left + w },
        y: Scale { lo: plan.y.0, hi: plan.y.1, log: panel.log.1, a: bottom, b: y0 },
    };
    let labels = if legend { panel.labels() } else { vec![] };
    let mut axes = frame(y0);
    let mut marks = shapes(panel, &axes, looks)?;
    let mut key = vec![];
    if !labels.is_empty() {
        key = match legend::corner(panel, &labels, looks, &marks, axes.area()) {
            Some(shapes) => shapes,
            None => {
                let room = w + plan.right;
                let shapes = legend::strip(&[panel], &labels, looks, (left, y0 - 2.0), room);
                let strip = legend::strip_height(&labels, room).min(h - 1.0).max(0.0);
                (y0, h) = (y0 + strip, h - strip);
                axes = frame(y0);
                marks = super::marks::shapes(panel, &axes, looks)?;
                shapes
            }
        };
    }
    let line = |points: Vec<(f64, f64)>, rgb: Rgb| Shape::Path { points, rgb, alpha: 1.0, width: 1.0 };
    for tick in &plan.y_ticks {
        let Some(y) = axes.y.px(tick.at).filter(|_| axes.y.contains(tick.at)) else { continue };
        let reach = if tick.label.is_empty() { 2.5 } else { 5.0 };
        if !tick.label.is_empty() {
            c.add([line(vec![(left, y), (left + w, y)], GRID)]);
            c.add([label(&tick.label, (left - REACH, y), TICK, SOFT, Align::Right, false)]);
        }
        c.add([line(vec![(left - reach, y), (left, y)], SOFT)]);
    }
    for (i, tick) in x_ticks(panel, plan, &axes, w).into_iter().enumerate() {
        let Some(x) = axes.x.px(tick.at).filter(|_| axes.x.contains(tick.at)) else { continue };
        let reach = if tick.label.is_empty() { 2.5 } else { 5.0 };
        if !tick.label.is_empty() {
            let (text, size) = match panel.categories.get(i) {
                Some(name) => fit(name, TICK, w / panel.categories.len() as f64 - 4.0),
                None => (tick.label.clone(), TICK),
            };
            if panel.categories.is_empty() {
                c.add([line(vec![(x, y0), (x, bottom)], GRID)]);
            }
            c.add([label(text, (x, bottom + 15.0), size, SOFT, Align::Center, false)]);
        }
        if panel.categories.is_empty() {
            c.add([line(vec![(x, bottom), (x, bottom + reach)], SOFT)]);
        }
    }
    let empty = plan.empty || marks.is_empty();
    if let Some((label, map)) = panel.energy() {
        c.add(map.bar(label, axes.area(), plan.right)?);
    }
    c.add(marks);
    c.add([line(vec![(left, y0), (left, bottom), (left + w, bottom)], SOFT)]);
    c.add(key);
    if empty {
        c.add([no_data((left, y0, w, h))]);
    }
    x_label(c, panel, left + w / 2.0, bottom + 33.0, w + 40.0);
    if !panel.y.is_empty() {
        let (text, size) = fit(&panel.y, LABEL, h + 30.0);
        let x = left - plan.left + LABEL / 2.0 + 2.0;
        let (y, rgb, align) = (y0 + h / 2.0, INK, Align::Center);
        c.add([Shape::Text(Label { text, x, y, size, rgb, align, bold: false, upward: true })]);
    }
    Ok(())
}

/// As many ticks as there is room for their labels.
fn x_ticks(panel: &Panel, plan: &Plan, axes: &Axes, w: f64) -> Vec<Tick> {
    if !panel.categories.is_empty() {
        let tick = |(i, name): (usize, &String)| Tick { at: i as f64, label: name.clone() };
        return panel.categories.iter().enumerate().map(tick).collect();
    }
    if plan.empty {
        return vec![];
    }
    let mut most = (w / 46.0).clamp(2.0, 9.0) as usize;
    loop {
        let found = ticks(plan.x.0, plan.x.1, panel.log.0, most);
        let mut end = f64::NEG_INFINITY;
        let mut apart = true;
        for tick in found.iter().filter(|t| !t.label.is_empty()) {
            let Some(x) = axes.x.px(tick.at) else { continue };
            let half = width(&tick.label, TICK) / 2.0;
            apart &= x - half > end + 12.0;
            end = x + half;
        }
        if apart || most <= 2 {
            return found;
        }
        most -= 1;
    }
}
