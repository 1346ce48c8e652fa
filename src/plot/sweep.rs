//! Plot what a sweep's members recorded against the step, with bands over seeds.

use super::{Figure, Panel};
use crate::error::Result;
use crate::io::frame;
use crate::run::record;
use crate::sweep::SweepSummary;
use polars::prelude::{Column, DataFrame};

impl SweepSummary {
    /// One panel per column against the step: a curve for each configuration, the mean over seeds with its standard error.
    ///
    /// # Errors
    /// `Param` for a column that no member has.
    pub fn plot(&self, columns: &[&str]) -> Result<Figure> {
        let bands = self.bands(columns)?;
        let keys = self.keys.iter().map(|k| Ok((k, frame::column_str(&bands, k)?))).collect::<Result<Vec<_>>>()?;
        let label = |row: usize| keys.iter().map(|(k, v)| format!("{k} {}", v[row])).collect::<Vec<_>>().join(", ");
        let labels: Vec<String> = (0..bands.height()).map(label).collect();
        let mut all = vec![Column::new("label".into(), labels)];
        all.extend(bands.columns().iter().cloned());
        let bands = DataFrame::new(bands.height(), all)?;
        let mut figure = Figure::of_columns(columns.len());
        for name in columns {
            figure =
                figure.panel(Panel::new("").x("step").y(&record::axis(name)).frame(&bands, "label", "step", name)?);
        }
        Ok(figure)
    }
}
