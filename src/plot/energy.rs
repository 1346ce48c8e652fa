//! Show a function on the plane as a colour map, with a bar that tells its values.

use super::axis::{range, ticks};
use super::canvas::{Align, Label, Shape};
use super::image::{encode, pixmap};
use super::marks::Axes;
use super::style::{INK, LABEL, Rgb, SOFT, TICK, fit, width};
use crate::error::{Error, Result};

/// Cividis (Nuñez, Anderton & Renslow 2018): perceptually uniform, the same with and without colour blindness, and
/// quiet enough for coloured marks on top.
const CIVIDIS: [Rgb; 33] = [
    (0, 34, 78),
    (0, 40, 91),
    (0, 46, 106),
    (4, 51, 113),
    (26, 56, 111),
    (39, 62, 110),
    (50, 67, 109),
    (59, 73, 108),
    (67, 78, 108),
    (75, 84, 108),
    (82, 89, 109),
    (90, 95, 110),
    (97, 101, 111),
    (104, 106, 113),
    (111, 112, 115),
    (117, 118, 118),
    (124, 123, 120),
    (132, 129, 121),
    (139, 135, 120),
    (147, 141, 120),
    (155, 147, 118),
    (163, 154, 117),
    (171, 160, 114),
    (179, 166, 112),
    (187, 173, 108),
    (195, 180, 105),
    (204, 186, 100),
    (212, 193, 95),
    (221, 201, 88),
    (230, 208, 81),
    (239, 215, 72),
    (248, 223, 60),
    (254, 232, 56),
];

/// Between the axes and the bar, and the width of the bar.
const GAP: f64 = 10.0;
const BAR: f64 = 12.0;
/// From the bar to the text of its ticks.
const REACH: f64 = 7.0;

/// Values in the cells of a rectangle, row by row from the lowest y.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    pub values: Vec<f64>,
    pub x: (f64, f64),
    pub y: (f64, f64),
    pub nx: usize,
}

impl Grid {
    pub fn check(&self, label: &str) -> Result<()> {
        if self.nx == 0 || self.values.is_empty() || !self.values.len().is_multiple_of(self.nx) {
            let expected = format!("[ny × nx] with ny ≥ 1, nx = {} ≥ 1 (layer \"{label}\")", self.nx);
            return Err(Error::Shape { name: "energy", got: vec![self.values.len() as i64], expected });
        }
        for (name, (lo, hi)) in [("energy2d x", self.x), ("energy2d y", self.y)] {
            if !(lo < hi && (hi - lo).is_finite()) {
                return Err(Error::param(name, format!("{lo}..{hi}"), format!("lower < upper (layer \"{label}\")")));
            }
        }
        Ok(())
    }

    pub fn rows(&self) -> usize {
        self.values.len() / self.nx.max(1)
    }

    /// The centre of the i-th cell.
    pub fn centre(&self, i: usize) -> (f64, f64) {
        let at = |(lo, hi): (f64, f64), i: usize, n: usize| lo + (hi - lo) * ((i as f64 + 0.5) / n as f64);
        (at(self.x, i % self.nx, self.nx), at(self.y, i / self.nx, self.rows()))
    }

    /// The values at the two ends of the colours; None without finite values.
    fn span(&self) -> Option<(f64, f64)> {
        range(self.values.iter().copied(), false, 0.0)
    }

    /// The map between the axes, two pixels of the PNG per pixel of the figure; NaN and what is off the grid stay blank.
    pub fn picture(&self, axes: &Axes) -> Result<Option<Shape>> {
        const FINE: f64 = 2.0;
        let Some(span) = self.span() else { return Ok(None) };
        let (left, top, w, h) = axes.area();
        let mut map = pixmap((w * FINE).round().max(1.0) as usize, (h * FINE).round().max(1.0) as usize)?;
        let (columns, rows) = (map.width() as usize, map.height() as usize);
        let cell = |v: f64, (lo, hi): (f64, f64), n: usize| {
            (v >= lo && v <= hi).then(|| (((v - lo) / (hi - lo) * n as f64) as usize).min(n - 1))
        };
        let across: Vec<Option<usize>> = (0..columns)
            .map(|c| cell(axes.x.value(left + (c as f64 + 0.5) * w / columns as f64), self.x, self.nx))
            .collect();
        let data = map.data_mut();
        for r in 0..rows {
            let y = axes.y.value(top + (r as f64 + 0.5) * h / rows as f64);
            let Some(row) = cell(y, self.y, self.rows()) else { continue };
            for (c, column) in across.iter().enumerate() {
                let Some(value) = column.map(|i| self.values[row * self.nx + i]).filter(|v| !v.is_nan()) else {
                    continue;
                };
                let (red, green, blue) = color((value - span.0) / (span.1 - span.0));
                let at = (r * columns + c) * 4;
                data[at..at + 4].copy_from_slice(&[red, green, blue, 255]);
            }
        }
        Ok(Some(Shape::Image { png: encode(&map)?, at: (left, top), size: (w, h) }))
    }

    /// What the bar needs right of the axes.
    pub fn margin(&self, label: &str, height: f64) -> f64 {
        let Some((lo, hi)) = self.span() else { return 0.0 };
        let widest = ticks(lo, hi, false, most(height)).iter().map(|t| width(&t.label, TICK)).fold(0.0, f64::max);
        GAP + BAR + REACH + widest + if label.is_empty() { 2.0 } else { LABEL + 10.0 }
    }

    /// The bar right of the axes, with ticks and its label.
    pub fn bar(&self, label: &str, area: (f64, f64, f64, f64), margin: f64) -> Result<Vec<Shape>> {
        let Some((lo, hi)) = self.span() else { return Ok(vec![]) };
        let (left, top, w, h) = area;
        let x = left + w + GAP;
        let mut map = pixmap(1, 256)?;
        for (i, pixel) in map.data_mut().chunks_exact_mut(4).enumerate() {
            let (red, green, blue) = color(1.0 - i as f64 / 255.0);
            pixel.copy_from_slice(&[red, green, blue, 255]);
        }
        let mut out = vec![Shape::Image { png: encode(&map)?, at: (x, top), size: (BAR, h) }];
        for tick in ticks(lo, hi, false, most(h)).into_iter().filter(|t| t.at >= lo && t.at <= hi) {
            let y = top + h * (1.0 - (tick.at - lo) / (hi - lo));
            let points = vec![(x + BAR, y), (x + BAR + 4.0, y)];
            out.push(Shape::Path { points, rgb: SOFT, alpha: 1.0, width: 1.0 });
            let (text, x, size, rgb, align) = (tick.label, x + BAR + REACH, TICK, SOFT, Align::Left);
            out.push(Shape::Text(Label { text, x, y, size, rgb, align, bold: false, upward: false }));
        }
        if !label.is_empty() {
            let (text, size) = fit(label, LABEL, h + 30.0);
            let (x, y, rgb, align) = (left + w + margin - LABEL / 2.0 - 2.0, top + h / 2.0, INK, Align::Center);
            out.push(Shape::Text(Label { text, x, y, size, rgb, align, bold: false, upward: true }));
        }
        Ok(out)
    }
}

/// Ticks of a bar of this height.
fn most(height: f64) -> usize {
    (height / 38.0).clamp(2.0, 8.0) as usize
}

/// The colour of a share of the range, from dark blue at 0 to yellow at 1.
fn color(share: f64) -> Rgb {
    let last = CIVIDIS.len() - 1;
    // 256 colours are all an eye can tell apart, and keep the PNG small.
    let at = (share.clamp(0.0, 1.0) * 255.0).round() / 255.0 * last as f64;
    let i = (at as usize).min(last - 1);
    let mix = |a: u8, b: u8| (a as f64 + (b as f64 - a as f64) * (at - i as f64)).round() as u8;
    let (a, b) = (CIVIDIS[i], CIVIDIS[i + 1]);
    (mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}
