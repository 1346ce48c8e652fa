//! Show runs, walkers, models, figures, tables and errors: in a notebook as HTML, in a terminal as text of 80 columns.

mod cells;
#[cfg(feature = "plot")]
mod figure;
mod findings;
mod table;

pub use cells::{parameters, sparkline};
pub use table::{Html, content, number, show};
