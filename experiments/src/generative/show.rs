//! Say and draw what was measured on generative models.

use super::{Cell, GenerativeComparison};
use crate::Output;
use crate::evaluate::{signed_with_error, with_error};
use jarzynski::Result;
use jarzynski::io::frame;
use jarzynski::polars::prelude::DataFrame;

/// `data` and the methods that have rows, in their order.
fn methods(table: &DataFrame) -> Result<Vec<String>> {
    frame::distinct(table, "method")
}

/// Mean and standard error over seeds of a column, for a data set and a method; of one seed, NaN for an error.
fn over_seeds(table: &DataFrame, data: &str, method: &str, column: &str) -> Result<(f64, f64)> {
    let own = frame::filter(&frame::filter(table, "data", data)?, "method", method)?;
    Ok(frame::mean_se(&frame::column_f64(&own, column)?))
}

impl GenerativeComparison {
    pub(super) fn say(&self, table: &DataFrame, cells: &[Cell], out: &mut Output) -> Result<()> {
        for data in &self.data {
            for method in methods(table)? {
                let own = frame::filter(&frame::filter(table, "data", data)?, "method", &method)?;
                if own.height() == 0 {
                    continue;
                }
                let read = |column| over_seeds(table, data, &method, column);
                let (l, m, d, s, p) = (
                    read("log_lik_test")?,
                    read("mass_distance")?,
                    read("mmd")?,
                    read("seconds")?,
                    read("parameters")?,
                );
                let kind = &frame::column_str(&own, "kind")?[0];
                let density = if l.0.is_nan() { "–".into() } else { signed_with_error(l.0, l.1, 3) };
                out.note(format!(
                    "{data:<10} {method:<16} log-likelihood {density} ({kind}), masses off by {}, MMD² {}, {:.1} s, {} parameters",
                    with_error(m.0, m.1, 3),
                    signed_with_error(d.0, d.1, 4),
                    s.0,
                    p.0
                ));
            }
        }
        let known: Vec<_> = cells.iter().filter_map(|c| c.fitted.as_ref().ok()).collect();
        let gaps: Vec<f64> = known.iter().map(|f| f.fitted.log_z_gap).filter(|z| z.is_finite()).collect();
        let far = gaps.iter().filter(|z| z.abs() > 3.0).count();
        out.note(format!(
            "log Z by weights against quadrature in the plane: {far} of {} beyond 3 standard errors",
            gaps.len()
        ));
        known.iter().filter_map(|f| f.fitted.note.as_ref()).for_each(|note| {
            out.note(note);
        });
        Ok(())
    }

    #[cfg(feature = "plot")]
    pub(super) fn figures(&self, table: &DataFrame, cells: &[Cell], out: &mut Output) -> Result<()> {
        out.figure("densities", self.densities(cells));
        out.figure("masses", self.bars(table, "mass_distance", "Distance between masses of the modes and the data's")?);
        Ok(())
    }

    /// The density of each method in the plane, of the first seed.
    #[cfg(feature = "plot")]
    fn densities(&self, cells: &[Cell]) -> jarzynski::plot::Figure {
        use super::measure::{CELLS, EDGE};
        use jarzynski::plot::{Figure, Panel};
        let side = CELLS as usize;
        let shown: Vec<(&Cell, &Vec<f64>)> = (cells.iter().filter(|c| c.seed == self.seed))
            .filter_map(|c| c.fitted.as_ref().ok().map(|f| (c, &f.fitted.picture)))
            .filter(|(_, picture)| !picture.is_empty())
            .collect();
        let columns = 7usize;
        let rows = shown.len().div_ceil(columns).max(1);
        let title = format!("Densities in the plane, both coordinates from −{EDGE} to {EDGE}; darker is denser");
        let mut figure = Figure::new(1500, 60 + 235 * rows as u32).columns(columns).title(&title);
        for (cell, picture) in shown {
            // images run from the top
            let top_down: Vec<f32> = picture.chunks(side).rev().flatten().map(|v| *v as f32).collect();
            // of the data's own density: what a model has above it is black
            let data = cells.iter().find(|c| (c.data, c.seed, c.method.as_str()) == (cell.data, cell.seed, "data"));
            let most = data
                .and_then(|c| c.fitted.as_ref().ok())
                .map_or(1.0, |f| f.fitted.picture.iter().fold(0.0f64, |a, v| a.max(*v)));
            let title = format!("{}: {}", cell.data, cell.method);
            figure = figure.panel(Panel::images(&title, &[top_down], (side, side), 1, (0.0, 0.7 * most as f32)));
        }
        figure
    }

    /// A column by method, a panel for each data set.
    #[cfg(feature = "plot")]
    fn bars(&self, table: &DataFrame, column: &str, title: &str) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let names: Vec<String> = methods(table)?.into_iter().filter(|m| m != "data").collect();
        let mut figure = Figure::new(1300, 60 + 230 * self.data.len() as u32).columns(1).title(title);
        for data in &self.data {
            let (mut heights, mut errors) = (vec![], vec![]);
            for method in &names {
                let (value, se) = over_seeds(table, data, method, column)?;
                heights.push(value);
                errors.push(se);
            }
            let floor = over_seeds(table, data, "data", column)?.0;
            let panel = Panel::new(data).categories(&names).y("total variation").ylim(0.0, 0.8);
            let panel = panel.bars("mean of the seeds ± s.e.", &heights, &errors);
            figure = figure.panel(panel.hline("a fresh sample of the data", floor));
        }
        Ok(figure)
    }
}
