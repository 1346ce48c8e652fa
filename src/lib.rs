//! Train and sample energy-based models with Jarzynski reweighting.

pub mod error;

pub use error::{Error, Result};
pub use polars;
#[cfg(feature = "plot")]
pub use plotters;
pub use tch;
