//! Train and sample energy-based models with Jarzynski reweighting.
//!
//! ρ_θ(x) = e^{−U_θ(x)}/Z_θ. Walkers X_k move under any Markov kernel while θ_k changes; each carries a log-weight A_k
//! with E(g(X_k) e^{A_k}) = (Z_k/Z_0) E_{ρ_k}(g) (Prop. 1), so weighted averages are exact and log Z comes for free.
//!
//! The data flow of every run:
//!
//! ```text
//! base.sample            → X_0 ~ ρ_0 exactly, log Z_0 known, A_0 = 0
//! kernel.forward  at θ_k → y and α = U_k(x) − log f_k(x→y)              f: the density of the move
//! θ_k → θ_{k+1}          by an optimiser (train) or along a path (transport)
//! kernel.backward at θ_{k+1} → λ = U_{k+1}(y) − log r_{k+1}(y→x)        r: the density of a move back
//! walkers.commit         A += α − λ; resample when the ESS is low, L += log mean e^A
//! ```
//!
//! Equation numbers are those of Carbone 2025, "Jarzynski Reweighting and Sampling Dynamics for Training Energy-Based
//! Models"; "guide" is "Hitchhiker's guide on Energy-Based Models". Where the code differs from the print, it says so.

#![warn(missing_docs, clippy::missing_errors_doc, clippy::return_self_not_must_use)]

pub mod error;

// In the order of the layers: each imports from those above it only; a test in `tests/it/layers.rs` holds that rule.
pub mod data;
pub mod density;
pub mod display;
pub mod io;
pub mod kernel;
pub mod model;
pub mod numeric;
#[cfg(feature = "plot")]
pub mod plot;
pub mod prelude;
pub mod run;
pub mod sweep;
pub mod train;
pub mod transport;
pub mod tune;
pub mod walkers;

pub use density::{At, Base, Differentiable, Energy, Evaluation, Flow, Geometric, Model, Noise, Path, log_prob};
pub use error::{Error, Result};
pub use kernel::{
    Escorted, FlowKernel, Gibbs, GibbsReverse, Kernel, Mala, Matched, Ode, ReverseAt, Reversed, Split, Ula,
};
pub use model::{Tempered, Tempering};
pub use numeric::{Rng, device};
#[cfg(feature = "plot")]
pub use plotters;
pub use polars;
pub use run::{Callback, Checkpointing, Driver, Outcome, Run, RunInfo, StepView, Warning};
pub use serde_json;
pub use sweep::Sweep;
pub use tch;
pub use train::{
    BinaryMatching, DataNoise, FlowSettings, FlowTrainer, Method, NoiseContrastive, Optim, Schedule, ScoreMatching,
    Settings, Trainer, TrustRegion,
};
pub use transport::{Ais, Bracket, ReverseStart, Transport, anneal, check_kernel, transport};
pub use tune::{CostModel, Tune, Tuned, VarianceModel, tune};
pub use walkers::{Estimate, Scheme, Walkers};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of the other pages compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/leave-it-running.md")]
#[doc = include_str!("../docs/gpu.md")]
#[doc = include_str!("../docs/without-sampling.md")]
#[doc = include_str!("../docs/warnings.md")]
#[doc = include_str!("../docs/results.md")]
#[doc = include_str!("../docs/install.md")]
#[doc = include_str!("../docs/glossary.md")]
struct Pages;
