//! Regenerate the figures and tables of the text: one file per experiment, each a configuration, tables and figures.
//!
//! The crate uses the public API of [`jarzynski`] only, as a user's own crate would.
//!
//! ```
//! use jarzynski_experiments::{Experiment, ula_bias::UlaBias};
//! let config = UlaBias { h: vec![0.1], steps: 60, walkers: 500, seeds: 1, ..Default::default() };
//! let output = config.run()?;
//! assert_eq!(output.get("moments")?.height(), 7);
//! # Ok::<(), jarzynski::Error>(())
//! ```
//!
//! To add an experiment: a file with a type that implements [`Experiment`], declared below, and a line in
//! [`registry::ALL`]. The command line, the Makefile and the tests read that list.

#![warn(missing_docs)]

pub mod config;
pub mod context;
mod evaluate;
pub mod index;
pub mod output;
mod pair;
mod provenance;
pub mod registry;
pub mod results;
pub mod sweep;

// The experiments.
pub mod bracket;
pub mod continuous;
pub mod digits;
pub mod divergences;
pub mod flow_exact;
pub mod flow_learned;
pub mod flow_order;
pub mod flow_tune;
pub mod gaussian_rbm;
pub mod generative;
pub mod images;
pub mod mixture;
pub mod mnist;
pub mod mnist_one_level;
pub mod quick;
pub mod rbm_exact;
pub mod rbm_kernels;
pub mod rbm_mnist;
pub mod sampler_bench;
pub mod ula_bias;

pub use config::{Size, configure};
pub use context::Context;
pub use evaluate::classifier::Classifier;
/// For notebooks, where one dependency is loaded faster than two.
pub use jarzynski;
pub use output::Output;
pub use registry::{Entry, Experiment, find};
