//! Train and sample energy-based models with Jarzynski reweighting.

pub mod data;
pub mod error;

pub use error::{Error, Result};
#[cfg(feature = "plot")]
pub use plotters;
pub use polars;
pub use tch;
