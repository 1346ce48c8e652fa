//! Plot the columns of a run against the step.

use super::{Figure, Panel};
use crate::error::Result;
use crate::run::{Run, record};

impl Figure {
    /// A figure without panels yet, of the size for one panel to each of `n` recorded columns.
    pub(super) fn of_columns(n: usize) -> Figure {
        let across = n.clamp(1, 3);
        let rows = n.div_ceil(across).max(1) as u32;
        Figure::new(280 * across as u32 + 40, 290 * rows).columns(across)
    }
}

impl Run {
    /// One panel per column against the step; a column that the monitor recorded too (`c_monitor`) shows both curves.
    ///
    /// # Errors
    /// `Param` for a column that the run has not.
    pub fn plot(&self, columns: &[&str]) -> Result<Figure> {
        let step = self.column("step")?;
        let mut figure = Figure::of_columns(columns.len());
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
