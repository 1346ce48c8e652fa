//! Give out the numbers behind a figure: one table in long form, whatever the layers are.

use super::Figure;
use super::panel::{Layer, Panel};
use crate::error::Result;
use crate::io::{check_name, write_table};
use polars::prelude::{Column, DataFrame};
use std::path::Path;

impl Figure {
    /// The data behind the figure, a row per point, in the order of panels and layers.
    ///
    /// | column | what it holds |
    /// |---|---|
    /// | `panel`, `title` | the number of the panel, from 0, and its title |
    /// | `layer`, `label` | the kind of the layer and its label (of a text: the text) |
    /// | `x`, `y` | the point; the category's number of a bar; the middle of a bin or cell; NaN along a rule |
    /// | `lo`, `hi` | the edges of a band, the ends of a whisker, the two edges of a histogram's bin |
    /// | `value` | the value of a cell of an energy, the weight of a walker |
    ///
    /// The kinds are `line`, `dashed`, `band`, `points`, `errorbars`, `bars`, `rule`, `histogram`, `density`, `energy`,
    /// `walkers` and `text`. NaN stands where a kind has no such number. A [`slope`](Panel::slope) is its points and the
    /// line fitted to them. Grids of images are left out.
    ///
    /// # Errors
    /// As [`Figure::svg`], but for the size of the figure.
    pub fn data(&self) -> Result<DataFrame> {
        self.panels.iter().try_for_each(Panel::check)?;
        let mut table = Table::default();
        for (i, panel) in self.panels.iter().enumerate() {
            for layer in &panel.layers {
                rows(layer, |kind, label, numbers| table.push((i, &panel.title), (kind, label), numbers));
            }
        }
        table.finish()
    }

    /// Writes [`Figure::data`] as `dir/name-data.csv` and `dir/name-data.parquet`.
    ///
    /// # Errors
    /// As [`Figure::data`], `Param` for a name that is no plain file name, `Io` with the path.
    pub fn save_data(&self, dir: impl AsRef<Path>, name: &str) -> Result<()> {
        check_name(name)?;
        write_table(&self.data()?, dir, &format!("{name}-data"))
    }
}

/// The columns so far.
#[derive(Default)]
struct Table {
    panel: Vec<i64>,
    text: [Vec<String>; 3],
    numbers: [Vec<f64>; 5],
}

impl Table {
    fn push(&mut self, (panel, title): (usize, &str), (kind, label): (&str, &str), numbers: [f64; 5]) {
        self.panel.push(panel as i64);
        self.text.iter_mut().zip([title, kind, label]).for_each(|(column, v)| column.push(v.into()));
        self.numbers.iter_mut().zip(numbers).for_each(|(column, v)| column.push(v));
    }

    fn finish(self) -> Result<DataFrame> {
        let mut columns = vec![Column::new("panel".into(), &self.panel)];
        columns.extend(["title", "layer", "label"].iter().zip(&self.text).map(|(n, v)| Column::new((*n).into(), v)));
        let names = ["x", "y", "lo", "hi", "value"];
        columns.extend(names.iter().zip(&self.numbers).map(|(n, v)| Column::new((*n).into(), v)));
        Ok(DataFrame::new(self.panel.len(), columns)?)
    }
}

const NONE: f64 = f64::NAN;

/// The rows `(kind, label, [x, y, lo, hi, value])` of a layer.
fn rows(layer: &Layer, mut row: impl FnMut(&str, &str, [f64; 5])) {
    let label = layer.label();
    let kind = match layer {
        Layer::Line { dashed: false, .. } => "line",
        Layer::Line { .. } => "dashed",
        Layer::Density { .. } => "density",
        Layer::Band { .. } => "band",
        Layer::Points { se, .. } if se.is_empty() => "points",
        Layer::Points { .. } => "errorbars",
        Layer::Bars { .. } => "bars",
        Layer::Rule { .. } => "rule",
        Layer::Steps { .. } => "histogram",
        Layer::Energy { .. } => "energy",
        Layer::Walkers { .. } => "walkers",
        Layer::Text { .. } => "text",
        Layer::Unfit { .. } => return,
    };
    let whiskers = |y: f64, se: &[f64], i: usize| se.get(i).map_or((NONE, NONE), |s| (y - s, y + s));
    match layer {
        Layer::Line { xs, ys, .. } | Layer::Density { xs, ys, .. } => {
            xs.iter().zip(ys).for_each(|(x, y)| row(kind, label, [*x, *y, NONE, NONE, NONE]));
        }
        Layer::Points { xs, ys, se, .. } => {
            for (i, (x, y)) in xs.iter().zip(ys).enumerate() {
                let (lo, hi) = whiskers(*y, se, i);
                row(kind, label, [*x, *y, lo, hi, NONE]);
            }
        }
        Layer::Band { xs, lo, hi, .. } => {
            let edges = lo.iter().zip(hi);
            xs.iter().zip(edges).for_each(|(x, (lo, hi))| row(kind, label, [*x, NONE, *lo, *hi, NONE]));
        }
        Layer::Bars { heights, se, .. } => {
            for (i, y) in heights.iter().enumerate() {
                let (lo, hi) = whiskers(*y, se, i);
                row(kind, label, [i as f64, *y, lo, hi, NONE]);
            }
        }
        Layer::Steps { edges, heights, .. } => {
            for (e, y) in edges.windows(2).zip(heights) {
                row(kind, label, [(e[0] + e[1]) / 2.0, *y, e[0], e[1], NONE]);
            }
        }
        Layer::Rule { at, vertical, .. } => {
            let (x, y) = if *vertical { (*at, NONE) } else { (NONE, *at) };
            row(kind, label, [x, y, NONE, NONE, NONE]);
        }
        Layer::Energy { grid, .. } => {
            for (i, value) in grid.values.iter().enumerate() {
                let (x, y) = grid.centre(i);
                row(kind, label, [x, y, NONE, NONE, *value]);
            }
        }
        Layer::Walkers { xs, ys, weights, .. } => {
            for (i, (x, y)) in xs.iter().zip(ys).enumerate() {
                row(kind, label, [*x, *y, NONE, NONE, weights.get(i).copied().unwrap_or(1.0)]);
            }
        }
        Layer::Text { x, y, text } => row(kind, text, [*x, *y, NONE, NONE, NONE]),
        Layer::Unfit { .. } => {}
    }
}
