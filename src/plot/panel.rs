//! Say what a panel shows: its axes and its layers.

use super::density::{check, check_weights, curve, histogram};
use super::energy::Grid;
use super::image::Tiles;
use super::power_law::{ends, fitted_label, power_law};
use crate::error::{Error, Result};
use crate::io::frame;
use polars::prelude::DataFrame;

/// What is drawn in a panel.
#[derive(Debug, Clone)]
pub(super) enum Layer {
    Line {
        label: String,
        xs: Vec<f64>,
        ys: Vec<f64>,
        dashed: bool,
    },
    Band {
        label: String,
        xs: Vec<f64>,
        lo: Vec<f64>,
        hi: Vec<f64>,
    },
    Points {
        label: String,
        xs: Vec<f64>,
        ys: Vec<f64>,
        se: Vec<f64>,
    },
    Bars {
        label: String,
        heights: Vec<f64>,
        se: Vec<f64>,
    },
    Rule {
        label: String,
        at: f64,
        vertical: bool,
    },
    Steps {
        label: String,
        edges: Vec<f64>,
        heights: Vec<f64>,
    },
    Density {
        label: String,
        xs: Vec<f64>,
        ys: Vec<f64>,
    },
    Energy {
        label: String,
        grid: Grid,
    },
    Walkers {
        label: String,
        xs: Vec<f64>,
        ys: Vec<f64>,
        weights: Vec<f64>,
    },
    /// A sample that no histogram or density can be made of, kept to say why.
    Unfit {
        label: String,
        values: Vec<f64>,
        weights: Vec<f64>,
        bins: usize,
    },
    Text {
        x: f64,
        y: f64,
        text: String,
    },
}

/// One pair of axes, or a grid of images.
///
/// Layers with the same label share a colour and one entry of the legend; an empty label has no entry. Methods
/// (`jarzynski`, `pcd`, …, see [`method_color`](super::method_color)) look the same in every figure. NaN breaks a line.
/// Slices of different lengths, weights that cannot be normalised and impossible limits are reported when the figure is
/// drawn.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Panel {
    pub(super) title: String,
    pub(super) x: String,
    pub(super) y: String,
    pub(super) log: (bool, bool),
    pub(super) xlim: Option<(f64, f64)>,
    pub(super) ylim: Option<(f64, f64)>,
    pub(super) categories: Vec<String>,
    pub(super) layers: Vec<Layer>,
    pub(super) tiles: Option<Tiles>,
}

impl Panel {
    /// An empty panel; an empty title takes no room.
    pub fn new(title: &str) -> Self {
        Panel { title: title.into(), ..Default::default() }
    }

    /// A grid of images, `shape` = (height, width) pixels each, row-major, `columns` per row of the grid.
    /// Values at `range.0` are white, at `range.1` black. Images of three times as many numbers are red, green and blue, one
    /// after the other; there `range.0` is dark.
    pub fn images(title: &str, images: &[Vec<f32>], shape: (usize, usize), columns: usize, range: (f32, f32)) -> Self {
        let tiles = Tiles { images: images.to_vec(), shape, columns, range };
        Panel { title: title.into(), tiles: Some(tiles), ..Default::default() }
    }

    /// The label of the x axis, with its unit.
    pub fn x(mut self, label: &str) -> Self {
        self.x = label.into();
        self
    }

    /// The label of the y axis, with its unit.
    pub fn y(mut self, label: &str) -> Self {
        self.y = label.into();
        self
    }

    /// A logarithmic x axis; values that are not positive are not shown.
    pub fn log_x(mut self) -> Self {
        self.log.0 = true;
        self
    }

    /// A logarithmic y axis; values that are not positive are not shown.
    pub fn log_y(mut self) -> Self {
        self.log.1 = true;
        self
    }

    /// Fixes the x axis.
    pub fn xlim(mut self, lo: f64, hi: f64) -> Self {
        self.xlim = Some((lo, hi));
        self
    }

    /// Fixes the y axis; what lies outside is cut off.
    pub fn ylim(mut self, lo: f64, hi: f64) -> Self {
        self.ylim = Some((lo, hi));
        self
    }

    /// Names on the x axis instead of numbers: the i-th stands at x = i. [`Panel::bars`] needs them.
    pub fn categories(mut self, names: &[impl AsRef<str>]) -> Self {
        self.categories = names.iter().map(|s| s.as_ref().to_string()).collect();
        self
    }

    /// A line through points; long ones are thinned without losing their extremes.
    pub fn line(self, label: &str, xs: &[f64], ys: &[f64]) -> Self {
        self.with(Layer::Line { label: label.into(), xs: xs.into(), ys: ys.into(), dashed: false })
    }

    /// As [`Panel::line`], dashed: for what is exact or expected.
    pub fn dashed(self, label: &str, xs: &[f64], ys: &[f64]) -> Self {
        self.with(Layer::Line { label: label.into(), xs: xs.into(), ys: ys.into(), dashed: true })
    }

    /// A translucent band between two curves, in the colour of the line with the same label.
    pub fn band(self, label: &str, xs: &[f64], lo: &[f64], hi: &[f64]) -> Self {
        self.with(Layer::Band { label: label.into(), xs: xs.into(), lo: lo.into(), hi: hi.into() })
    }

    /// Markers.
    pub fn points(self, label: &str, xs: &[f64], ys: &[f64]) -> Self {
        self.with(Layer::Points { label: label.into(), xs: xs.into(), ys: ys.into(), se: vec![] })
    }

    /// Markers with vertical bars of ± `se`; a NaN there draws the marker alone.
    pub fn errorbars(self, label: &str, xs: &[f64], ys: &[f64], se: &[f64]) -> Self {
        self.with(Layer::Points { label: label.into(), xs: xs.into(), ys: ys.into(), se: se.into() })
    }

    /// One bar per category, beside those of other calls, with whiskers of ± `se` (may be empty).
    pub fn bars(self, label: &str, heights: &[f64], se: &[f64]) -> Self {
        self.with(Layer::Bars { label: label.into(), heights: heights.into(), se: se.into() })
    }

    /// A dashed horizontal line through the panel.
    pub fn hline(self, label: &str, y: f64) -> Self {
        self.with(Layer::Rule { label: label.into(), at: y, vertical: false })
    }

    /// A dashed vertical line through the panel.
    pub fn vline(self, label: &str, x: f64) -> Self {
        self.with(Layer::Rule { label: label.into(), at: x, vertical: true })
    }

    /// A histogram from `n + 1` edges and `n` heights, as an outline over a light fill.
    pub fn histogram(self, label: &str, edges: &[f64], heights: &[f64]) -> Self {
        self.with(Layer::Steps { label: label.into(), edges: edges.into(), heights: heights.into() })
    }

    /// The histogram of weighted values, of area 1, in `bins` equal bins from the smallest value to the largest.
    ///
    /// Weights need not be normalised; none at all are equal ones. Values that are not finite, or have no weight, are
    /// left out.
    pub fn weighted_histogram(self, label: &str, values: &[f64], weights: &[f64], bins: usize) -> Self {
        self.sample(label, values, weights, bins, |label| {
            let (edges, heights) = histogram(values, weights, bins);
            Layer::Steps { label, edges, heights }
        })
    }

    /// The density of weighted values: a sum of Gaussian kernels, at 200 points.
    ///
    /// The bandwidth is Silverman's 0.9 min(σ, IQR / 1.34) n^(−1/5), with the effective sample size n = (Σw)² / Σw²;
    /// nothing is drawn where all weight is on one value. Weights and values as for [`Panel::weighted_histogram`].
    pub fn density(self, label: &str, values: &[f64], weights: &[f64]) -> Self {
        self.sample(label, values, weights, 1, |label| {
            let (xs, ys) = curve(values, weights);
            Layer::Density { label, xs, ys }
        })
    }

    fn sample(self, label: &str, v: &[f64], w: &[f64], bins: usize, make: impl FnOnce(String) -> Layer) -> Self {
        let label = label.to_string();
        if check(&label, v, w, bins).is_ok() {
            return self.with(make(label));
        }
        self.with(Layer::Unfit { label, values: v.into(), weights: w.into(), bins })
    }

    /// A function on the plane (an energy, a density) as a colour map under everything else, with a bar that is
    /// labelled `label`.
    ///
    /// `energy` holds rows of `nx` values, the first row at the lowest y: each value is that of a cell, `nx` of them
    /// from `x.0` to `x.1`. The map sets the limits of the axes (and what lies outside is cut off) unless
    /// [`Panel::xlim`] and [`Panel::ylim`] do. The colours span all finite values: clamp what rises too high.
    pub fn energy2d(self, label: &str, energy: &[f64], x: (f64, f64), y: (f64, f64), nx: usize) -> Self {
        self.with(Layer::Energy { label: label.into(), grid: Grid { values: energy.into(), x, y, nx } })
    }

    /// Weighted walkers in the plane: markers whose area is proportional to the weight, of the usual size where all
    /// weights are equal (or none are given).
    ///
    /// The area stays within a tenth and ten times the usual, so that none vanishes or covers the others.
    pub fn walkers(self, label: &str, x: &[f64], y: &[f64], weights: &[f64]) -> Self {
        self.with(Layer::Walkers { label: label.into(), xs: x.into(), ys: y.into(), weights: weights.into() })
    }

    /// Points on log-log axes with the power law fitted to them by [`power_law`]: a line, and in the legend the exponent
    /// with its standard error, as in `increments ∝ x^0.98 ± 0.02`.
    ///
    /// Points that are not positive are left out; where no power law can be fitted, only the points are drawn. The colour is that
    /// of `label`.
    pub fn slope(self, label: &str, xs: &[f64], ys: &[f64]) -> Self {
        let panel = self.log_x().log_y();
        let Some(fit) = power_law(xs, ys) else { return panel.points(label, xs, ys) };
        let label = if label.is_empty() { String::new() } else { fitted_label(label, fit.0, fit.1) };
        let (x, y) = ends(xs, ys, fit);
        panel.line(&label, &x, &y).points(&label, xs, ys)
    }

    /// A remark whose middle is at (x, y) in data coordinates.
    pub fn text(self, x: f64, y: f64, text: &str) -> Self {
        self.with(Layer::Text { x, y, text: text.into() })
    }

    /// A line per value of the column `by`, from columns `x` and `y`; with a band of ± one standard error where the
    /// frame has a column `y_se`, as from [`frame::bands`].
    ///
    /// # Errors
    /// `Param` for a column that is missing or holds text where numbers are needed.
    pub fn frame(mut self, df: &DataFrame, by: &str, x: &str, y: &str) -> Result<Self> {
        let se = format!("{y}_se");
        for label in frame::distinct(df, by)? {
            let part = frame::filter(df, by, &label)?;
            let (xs, ys) = (frame::column_f64(&part, x)?, frame::column_f64(&part, y)?);
            if frame::column(&part, &se).is_ok() {
                let se = frame::column_f64(&part, &se)?;
                if se.iter().all(|s| s.is_nan()) {
                    self = self.line(&label, &xs, &ys);
                    continue;
                }
                let edge = |sign: f64| ys.iter().zip(&se).map(|(y, s)| y + sign * s).collect::<Vec<_>>();
                self = self.band(&label, &xs, &edge(-1.0), &edge(1.0));
            }
            self = self.line(&label, &xs, &ys);
        }
        Ok(self)
    }

    fn with(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// The labels that the legend lists, each once, in the order of the layers.
    pub(super) fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = vec![];
        // The label of an energy stands at its bar.
        for label in self.layers.iter().filter(|l| !matches!(l, Layer::Energy { .. })).map(Layer::label) {
            if !label.is_empty() && !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels
    }

    /// The map under the layers, and its label.
    pub(super) fn energy(&self) -> Option<(&str, &Grid)> {
        self.layers
            .iter()
            .find_map(|l| if let Layer::Energy { label, grid } = l { Some((&label[..], grid)) } else { None })
    }

    /// Lengths that agree, limits that make an axis.
    pub(super) fn check(&self) -> Result<()> {
        for (name, limits, log) in [("xlim", self.xlim, self.log.0), ("ylim", self.ylim, self.log.1)] {
            let Some((lo, hi)) = limits else { continue };
            if !(lo < hi && lo.is_finite() && hi.is_finite()) || (log && lo <= 0.0) {
                let expected = if log { "0 < lower < upper, finite" } else { "lower < upper, finite" };
                return Err(Error::param(name, format!("{lo}..{hi}"), expected));
            }
        }
        self.tiles.as_ref().map_or(Ok(()), Tiles::check)?;
        let maps = self.layers.iter().filter(|l| matches!(l, Layer::Energy { .. })).count();
        if maps > 1 {
            return Err(Error::param("energy2d", format!("{maps} in one panel"), "one, others would hide it"));
        }
        self.layers.iter().try_for_each(|layer| layer.check(self.categories.len()))
    }
}

impl Layer {
    pub fn label(&self) -> &str {
        match self {
            Layer::Line { label, .. } | Layer::Band { label, .. } | Layer::Points { label, .. } => label,
            Layer::Bars { label, .. } | Layer::Rule { label, .. } | Layer::Steps { label, .. } => label,
            Layer::Density { label, .. } | Layer::Energy { label, .. } | Layer::Walkers { label, .. } => label,
            Layer::Unfit { label, .. } => label,
            Layer::Text { .. } => "",
        }
    }

    fn check(&self, categories: usize) -> Result<()> {
        let same = |name: &'static str, got: &[f64], want: usize, of: &str| {
            let shape = || vec![got.len() as i64];
            let expected = || format!("[{want}] ({of} of layer \"{}\")", self.label());
            if got.len() == want { Ok(()) } else { Err(Error::Shape { name, got: shape(), expected: expected() }) }
        };
        let or_none =
            |name, got: &[f64], want, of: &str| if got.is_empty() { Ok(()) } else { same(name, got, want, of) };
        match self {
            Layer::Line { xs, ys, .. } | Layer::Density { xs, ys, .. } => same("ys", ys, xs.len(), "as many as xs"),
            Layer::Points { xs, ys, se, .. } => {
                same("ys", ys, xs.len(), "as many as xs").and(or_none("se", se, xs.len(), "as many as xs"))
            }
            Layer::Band { xs, lo, hi, .. } => {
                same("lo", lo, xs.len(), "as many as xs").and(same("hi", hi, xs.len(), "as many as xs"))
            }
            Layer::Bars { heights, se, .. } => {
                let of = "one per category";
                same("heights", heights, categories, of).and(or_none("se", se, categories, of))
            }
            Layer::Steps { edges, heights, .. } => {
                same("edges", edges, if heights.is_empty() { edges.len() } else { heights.len() + 1 }, "heights + 1")
            }
            Layer::Energy { label, grid } => grid.check(label),
            Layer::Walkers { label, xs, ys, weights } => {
                same("ys", ys, xs.len(), "as many as xs").and_then(|()| check_weights(label, xs.len(), weights))
            }
            Layer::Unfit { label, values, weights, bins } => check(label, values, weights, *bins),
            Layer::Rule { .. } | Layer::Text { .. } => Ok(()),
        }
    }
}
