//! Hold what an experiment returns: tables and figures by name, and what was measured in words.

use jarzynski::polars::prelude::DataFrame;
use jarzynski::{Error, Result};

/// What an experiment returns: named tables and figures, and what was measured in words.
#[derive(Debug, Default)]
pub struct Output {
    /// Tables by name; verification tables have the columns `case, method, quantity, value, se, exact`.
    pub tables: Vec<(String, DataFrame)>,
    /// Figures by name.
    #[cfg(feature = "plot")]
    pub figures: Vec<(String, jarzynski::plot::Figure)>,
    /// Lines of text: the result in numbers.
    pub notes: Vec<String>,
}

impl Output {
    /// Adds a table.
    pub fn table(&mut self, name: &str, df: DataFrame) -> &mut Self {
        self.tables.push((name.into(), df));
        self
    }

    /// Adds a figure.
    #[cfg(feature = "plot")]
    pub fn figure(&mut self, name: &str, figure: jarzynski::plot::Figure) -> &mut Self {
        self.figures.push((name.into(), figure));
        self
    }

    /// Adds a line of text.
    pub fn note(&mut self, line: impl Into<String>) -> &mut Self {
        self.notes.push(line.into());
        self
    }

    /// The figure of that name.
    ///
    /// # Errors
    /// `Param` where there is none; the message lists them.
    #[cfg(feature = "plot")]
    pub fn get_figure(&self, name: &str) -> Result<&jarzynski::plot::Figure> {
        let found = self.figures.iter().find(|(n, _)| n == name).map(|(_, figure)| figure);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.figures.iter().map(|(n, _)| n.as_str()).collect();
            Error::param("figure", name, format!("one of {}", names.join(", ")))
        })
    }

    /// The table of that name.
    ///
    /// # Errors
    /// `Param` where there is none; the message lists them.
    pub fn get(&self, name: &str) -> Result<&DataFrame> {
        let found = self.tables.iter().find(|(n, _)| n == name).map(|(_, df)| df);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.tables.iter().map(|(n, _)| n.as_str()).collect();
            Error::param("table", name, format!("one of {}", names.join(", ")))
        })
    }
}
