//! Show runs, walkers, models, tables and errors: in a notebook as HTML, in a terminal as text of 80 columns.

mod html;
mod text;

pub use html::{Html, content, escape, grouped, number, show};
pub use text::{layers, sparkline};
