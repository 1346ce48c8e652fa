//! Train and sample energy-based models with Jarzynski reweighting.

pub mod error;
pub mod export;
pub mod frame;
#[cfg(feature = "plot")]
pub mod plot;
pub mod show;

pub use error::{Error, Result};
#[cfg(feature = "plot")]
pub use plotters;
pub use polars;
pub use tch;
