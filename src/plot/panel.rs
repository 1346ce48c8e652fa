//! Say what a panel shows: its axes and its layers.

use super::image::Tiles;
use crate::{Error, Result, frame};
use polars::prelude::DataFrame;

/// What is drawn in a panel.
#[derive(Debug, Clone)]
pub(super) enum Layer {
    Line { label: String, xs: Vec<f64>, ys: Vec<f64>, dashed: bool },
    Band { label: String, xs: Vec<f64>, lo: Vec<f64>, hi: Vec<f64> },
    Points { label: String, xs: Vec<f64>, ys: Vec<f64>, se: Vec<f64> },
    Bars { label: String, heights: Vec<f64>, se: Vec<f64> },
    Rule { label: String, at: f64, vertical: bool },
    Steps { label: String, edges: Vec<f64>, heights: Vec<f64> },
    Text { x: f64, y: f64, text: String },
}

/// One pair of axes, or a grid of images.
///
/// Layers with the same label share a colour and one entry of the legend; an empty label has no entry. Methods
/// (`jarzynski`, `pcd`, …, see [`method_color`](super::method_color)) look the same in every figure. NaN breaks a line.
/// Slices of different lengths and impossible limits are reported when the figure is drawn.
#[derive(Debug, Clone, Default)]
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
    /// Values at `range.0` are white, at `range.1` black.
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
        for label in self.layers.iter().map(Layer::label) {
            if !label.is_empty() && !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels
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
        self.layers.iter().try_for_each(|layer| layer.check(self.categories.len()))
    }
}

impl Layer {
    pub fn label(&self) -> &str {
        match self {
            Layer::Line { label, .. } | Layer::Band { label, .. } | Layer::Points { label, .. } => label,
            Layer::Bars { label, .. } | Layer::Rule { label, .. } | Layer::Steps { label, .. } => label,
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
            Layer::Line { xs, ys, .. } => same("ys", ys, xs.len(), "as many as xs"),
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
            Layer::Rule { .. } | Layer::Text { .. } => Ok(()),
        }
    }
}
