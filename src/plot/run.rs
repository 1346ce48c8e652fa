//! Plot the columns of a run against the step.

use super::{Figure, Panel};
use crate::error::Result;
use crate::run::{Run, record};

impl Run {
    /// One panel per column against the step; a column that has one by the monitor too shows both.
    ///
    /// Errors: no such column.
    pub fn plot(&self, columns: &[&str]) -> Result<Figure> {
        let step = self.column("step")?;
        let across = columns.len().clamp(1, 3);
        let rows = columns.len().div_ceil(across).max(1) as u32;
        let mut figure = Figure::new(280 * across as u32 + 40, 290 * rows).columns(across);
        for name in columns {
            let mut panel =
                Panel::new("").x("step").y(&record::axis(name)).line(&self.label, &step, &self.column(name)?);
            if let Ok(other) = self.column(&format!("{name}_monitor")) {
                panel = panel.line("monitor", &step, &other);
            }
            figure = figure.panel(panel);
        }
        Ok(figure)
    }
}
